//! The keyboard: a thread that reads the terminal and sends keys.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::stdin;
use tokio::sync::mpsc;

use super::keys::{Decoder, Key};
use super::screen::is_in_foreground;

/// Starts the thread, which ends with the process. The channel is closed if the terminal is.
///
/// # Errors
///
/// If the thread cannot be started.
pub(super) fn start() -> io::Result<mpsc::Receiver<Key>> {
    let (keys, receiver) = mpsc::channel(MAX_KEYS);
    let thread = thread::Builder::new().name("keyboard".to_owned());
    thread.spawn(move || {
        // The terminal does not exist any longer.
        let _gone = read(&keys);
    })?;
    Ok(receiver)
}

/// Reads until the terminal is closed, or the receiver.
fn read(keys: &mpsc::Sender<Key>) -> Result<(), Errno> {
    let mut decoder = Decoder::default();
    let mut bytes = [0; 256];
    while !keys.is_closed() {
        let decoded = match is_readable(decoder.pause())? {
            false => decoder.handle_pause().into_iter().collect(),
            // Reading would stop this process (SIGTTIN); the input is for another one.
            true if !is_in_foreground() => {
                thread::sleep(BACKGROUND_PAUSE);
                continue;
            }
            true => match rustix::io::read(stdin(), &mut bytes) {
                Ok(0) => return Ok(()),
                Ok(read) => decoder.handle_bytes(&bytes[..read]),
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => return Err(error),
            },
        };
        for key in decoded {
            if keys.blocking_send(key).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Waits for input, for `pause` at most.
fn is_readable(pause: Option<Duration>) -> Result<bool, Errno> {
    let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
    loop {
        let stdin = stdin();
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut polled, pause.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Maximum number of keys that wait.
const MAX_KEYS: usize = 64;

const BACKGROUND_PAUSE: Duration = Duration::from_millis(200);
