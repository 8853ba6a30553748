//! The terminal: its settings, its alternate screen, and a thread that writes to it.
//!
//! ```text
//!   model ─render─▶ Buffer ─encode─▶ one frame at a time ─▶ writer thread ─▶ terminal
//! ```
//!
//! A terminal that does not read (a slow line, or a stopped multiplexer) delays only the writer
//! thread; the next frame waits until the last one is written. Settings and screen are restored by
//! [`restore`], which is called when the program ends or is suspended, and by the panic hook.

use std::io;
use std::panic::{set_hook, take_hook};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::encoder::encode;
use crate::cli::terminal;

/// The settings of the terminal before this program changed them. Set while they are changed.
static FORMER: Mutex<Option<Termios>> = Mutex::new(None);

/// The screen of the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    frames: SyncSender<Vec<u8>>,
    /// A result for each frame.
    written: mpsc::Receiver<io::Result<()>>,
    is_writing: bool,
    /// What the terminal displays.
    shown: Buffer,
    /// Written before the next frame; not empty if the terminal does not display `shown`.
    prefix: &'static str,
    unicode: bool,
}

impl Screen {
    /// Starts the writer thread. Without `unicode`, only ASCII is written.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(super) fn new(unicode: bool) -> io::Result<Self> {
        let (frames, queue) = sync_channel::<Vec<u8>>(1);
        let (results, written) = mpsc::channel(1);
        // The process does not wait for it.
        thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                while let Ok(frame) = queue.recv() {
                    if results.blocking_send(write(&frame)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            frames,
            written,
            is_writing: false,
            shown: Buffer::default(),
            prefix: "",
            unicode,
        })
    }

    /// Changes the settings of the terminal. The next frame switches to the alternate screen.
    ///
    /// # Errors
    ///
    /// If the settings cannot be changed.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        let mut former = former();
        let (settings, prefix) = match &*former {
            Some(settings) if self.prefix == ENTER => (settings.clone(), ENTER),
            // It was stopped before it could restore them.
            Some(settings) => (settings.clone(), ENTER_AGAIN),
            None => (tcgetattr(stdin())?, ENTER),
        };
        let mut raw = settings.clone();
        raw.make_raw();
        // Restored from here on, also if the change fails half-way.
        *former = Some(settings);
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        self.prefix = prefix;
        Ok(())
    }

    /// Returns whether this program displays something now.
    pub(super) fn is_entered() -> bool {
        former().is_some()
    }

    /// Returns whether a frame can be drawn.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_writing
    }

    /// Draws everything again.
    pub(super) fn redraw(&mut self) {
        if self.prefix.is_empty() {
            self.prefix = CLEAR;
        }
    }

    /// Draws a frame.
    pub(super) fn draw(&mut self, render: impl FnOnce(Rect, &mut Buffer)) {
        let area = area();
        let mut frame = Buffer::empty(area);
        render(area, &mut frame);
        if area != self.shown.area {
            self.redraw();
        }
        let mut bytes = std::mem::take(&mut self.prefix).to_owned();
        if !bytes.is_empty() {
            self.shown = Buffer::empty(area);
        }
        bytes += &encode(&self.shown, &frame, self.unicode);
        self.shown = frame;
        if !bytes.is_empty() {
            // The queue has a place, as the last frame was written.
            self.is_writing = self.frames.try_send(bytes.into_bytes()).is_ok();
        }
    }

    /// Waits until a frame is written. Cancel safe.
    ///
    /// # Errors
    ///
    /// If the terminal does not accept it.
    pub(super) async fn written(&mut self) -> io::Result<()> {
        let result = self.written.recv().await;
        self.is_writing = false;
        result.unwrap_or_else(|| Err(io::Error::other("the writer thread has ended")))
    }

    /// Restores the terminal, after the last frame.
    pub(super) async fn leave(&mut self) {
        if self.is_writing {
            // If the terminal does not read, its screen is lost anyway.
            let _lost = timeout(LEAVE_TIMEOUT, self.written()).await;
        }
        // An error means that it has panicked.
        let _panicked = tokio::task::spawn_blocking(restore).await;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal if it was changed. Takes a second at most.
pub(super) fn restore() {
    let Some(settings) = former().take() else {
        return;
    };
    let (sender, done) = channel();
    let leave = move |done: Sender<()>| {
        // An error means that the terminal no longer exists.
        let _gone = write(LEAVE.as_bytes());
        let _late = done.send(());
    };
    let thread = thread::Builder::new().spawn(move || leave(sender));
    if thread.is_ok() {
        let _late = done.recv_timeout(LEAVE_TIMEOUT);
    }
    // In the background, the change would stop this process (SIGTTOU), and the shell has restored
    // the settings.
    if is_in_foreground() {
        let _gone = tcsetattr(stdin(), OptionalActions::Now, &settings);
    }
}

/// Restores the terminal before a panic is reported.
pub(super) fn restore_at_panic() {
    let report = take_hook();
    set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

/// Returns whether this process may use its terminal.
pub(super) fn is_in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// Returns the size of the terminal, limited so that memory is.
fn area() -> Rect {
    let (width, height) = terminal::size();
    let limited = |size: usize, max: u16| u16::try_from(size).unwrap_or(max).min(max);
    Rect::new(0, 0, limited(width, MAX_WIDTH), limited(height, MAX_HEIGHT))
}

fn former() -> MutexGuard<'static, Option<Termios>> {
    FORMER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes all bytes to the terminal; may block for any time.
fn write(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(stdout(), bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            // A process that shares the file description made it non-blocking.
            Err(Errno::AGAIN) => thread::sleep(RETRY),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Switches to the alternate screen and clears it, hides the cursor, does not wrap lines, and marks
/// pasted text.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[0m\x1b[2J";

/// The same from either screen: entering the alternate screen twice would lose the position of the
/// cursor on the other one.
const ENTER_AGAIN: &str = "\x1b[?1049l\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[0m\x1b[2J";

/// Clears the screen.
const CLEAR: &str = "\x1b[0m\x1b[2J";

/// Reverts [`ENTER`].
const LEAVE: &str = "\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Time for the last frame, and for [`LEAVE`].
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

const RETRY: Duration = Duration::from_millis(10);

const MAX_WIDTH: u16 = 1000;
const MAX_HEIGHT: u16 = 500;
