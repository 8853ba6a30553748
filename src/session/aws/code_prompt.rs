//! Prompt for the code of an MFA device.
//!
//! The prompt uses the terminal itself (`/dev/tty`), since stdin and stdout may carry a connection.
//! Echo is off while the prompt is open. The settings of the terminal are restored when it closes
//! for any reason, and by [`restore_terminal`] before the process exits: the thread of the prompt
//! may still wait for input at that time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use tokio::sync::oneshot;

use crate::printable::Printable;

/// Called before each prompt. Set if prompts are allowed.
static BEFORE: OnceLock<fn()> = OnceLock::new();

/// Locked while a prompt is open.
static PROMPT: Mutex<()> = Mutex::new(());

static SETTINGS: Mutex<TerminalSettings> = Mutex::new(TerminalSettings::Own);

/// Allows this process to ask for MFA codes on its terminal, if it has one. `flush` writes pending
/// output to the terminal; it may block.
pub fn allow_prompts(flush: fn()) {
    // An error means that they are allowed already.
    let _allowed = BEFORE.set(flush);
}

/// Returns whether a code can be asked for.
pub(super) fn can_ask() -> bool {
    BEFORE.get().is_some() && terminal().is_ok()
}

/// Calls `draw` unless a prompt is open, so that the prompt is not overwritten. Returns whether it
/// was called.
pub fn unless_prompting(draw: impl FnOnce()) -> bool {
    let _turn = match PROMPT.try_lock() {
        Ok(turn) => turn,
        Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        Err(TryLockError::WouldBlock) => return false,
    };
    draw();
    true
}

/// Restores the settings of the terminal and prevents further prompts. Called before the process
/// exits.
pub fn restore_terminal() {
    settings().restore(OptionalActions::Flush, TerminalSettings::Final);
}

/// No code was entered.
#[derive(Debug, thiserror::Error)]
#[error("no MFA code: {0}")]
pub(super) struct NoCode(String);

/// Asks the user for the code of a device. Dropping the future closes the prompt.
pub(super) async fn ask(serial: &str) -> Result<String, NoCode> {
    let question = format!("MFA code for {}: ", Printable::from(serial));
    let (answer, code) = oneshot::channel();
    // In a separate thread, because the process exits without waiting for it.
    thread::spawn(move || {
        let asked = prompt(&question, || answer.is_closed());
        // An error means that the receiver was dropped.
        let _unwanted = answer.send(asked);
    });
    let code = code.await;
    let code = code.map_err(|_| NoCode("the prompt failed".to_owned()))?;
    code.map_err(NoCode)
}

/// Prints the prompt to the terminal and reads one line, unless `is_over` returns true first.
fn prompt(question: &str, is_over: impl Fn() -> bool) -> Result<String, String> {
    let _turn = PROMPT.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |error: io::Error| format!("cannot use the terminal: {error}");
    let mut terminal = terminal().map_err(|_| "no terminal to prompt for it")?;
    if !is_in_foreground(&terminal) {
        // Reading would stop this process (SIGTTIN).
        return Err("this program is a background job of its terminal".to_owned());
    }
    if let Some(flush) = BEFORE.get() {
        flush();
    }
    let mut hidden = HiddenInput::new(&terminal)?;
    write!(terminal, "{CLEAR_LINE}{question}").map_err(failed)?;
    let line = read_line(&mut terminal, is_over);
    match &line {
        Ok(_) => hidden.is_answered = true,
        Err(_) => terminal.write_all(b"\n").map_err(failed)?,
    }
    let code = line?.trim().to_owned();
    let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit());
    is_code
        .then_some(code)
        .ok_or_else(|| "expected the digits shown by the device".to_owned())
}

fn read_line(terminal: &mut File, is_over: impl Fn() -> bool) -> Result<String, String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < MAX_LINE {
        if is_over() {
            return Err("not entered in time".to_owned());
        }
        let mut readable = [PollFd::new(terminal, PollFlags::IN)];
        if matches!(poll(&mut readable, Some(&POLL)), Ok(0) | Err(Errno::INTR)) {
            continue;
        }
        let mut byte = [0];
        match terminal.read(&mut byte) {
            Ok(0) => return Err("the terminal was closed".to_owned()),
            Ok(_) => line.push(byte[0]),
            Err(error) => return Err(format!("cannot use the terminal: {error}")),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn terminal() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

fn is_in_foreground(terminal: &File) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}

/// Turns off the echo of the terminal until it is dropped.
struct HiddenInput {
    is_answered: bool,
}

impl HiddenInput {
    /// # Errors
    ///
    /// If the process is about to exit. A terminal that does not allow the change keeps its echo.
    fn new(terminal: &File) -> Result<Self, String> {
        let mut settings = settings();
        if matches!(*settings, TerminalSettings::Final) {
            return Err("the program is exiting".to_owned());
        }
        if let (Ok(previous), Ok(own)) = (tcgetattr(terminal), terminal.try_clone()) {
            let mut hidden = previous.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            hidden.local_modes.insert(LocalModes::ECHONL);
            // These keys would stop or end the process without restoring the terminal.
            for code in SUSPENDING {
                hidden.special_codes[code] = DISABLED;
            }
            // Discards earlier input.
            if tcsetattr(terminal, OptionalActions::Flush, &hidden).is_ok() {
                let terminal = own;
                *settings = TerminalSettings::Hidden { terminal, previous };
            }
        }
        Ok(Self { is_answered: false })
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // Discards an incomplete answer: another program would read it.
        let action = match self.is_answered {
            true => OptionalActions::Now,
            false => OptionalActions::Flush,
        };
        settings().restore(action, TerminalSettings::Own);
    }
}

/// State of the terminal's settings.
enum TerminalSettings {
    /// Not changed.
    Own,
    /// The echo is off.
    Hidden {
        terminal: File,
        /// The settings before.
        previous: Termios,
    },
    /// Not changed, and must not be changed: the process exits.
    Final,
}

impl TerminalSettings {
    /// Reverts the changes of [`HiddenInput`] only: another program may have changed other
    /// settings.
    fn restore(&mut self, action: OptionalActions, next: Self) {
        if matches!(self, Self::Final) {
            return;
        }
        let Self::Hidden { terminal, previous } = std::mem::replace(self, next) else {
            return;
        };
        // In the background, the change would stop this process (SIGTTOU), and the shell has
        // restored the settings.
        if let Ok(mut now) = tcgetattr(&terminal)
            && is_in_foreground(&terminal)
        {
            for mode in [LocalModes::ECHO, LocalModes::ECHONL] {
                now.local_modes
                    .set(mode, previous.local_modes.contains(mode));
            }
            for code in SUSPENDING {
                now.special_codes[code] = previous.special_codes[code];
            }
            // An error means that the terminal no longer exists.
            let _gone = tcsetattr(&terminal, action, &now);
        }
    }
}

fn settings() -> MutexGuard<'static, TerminalSettings> {
    SETTINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys that stop or end the process.
const SUSPENDING: [SpecialCodeIndex; 2] = [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT];

/// Value for "no key" (`_POSIX_VDISABLE`).
const DISABLED: u8 = 0;

const CLEAR_LINE: &str = "\r\x1b[K";

/// Interval at which `is_over` is checked.
const POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Maximum number of bytes in a line.
const MAX_LINE: usize = 64;
