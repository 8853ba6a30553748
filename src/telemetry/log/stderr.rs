//! Log output to stderr, which may be a full pipe or a stopped terminal.
//!
//! Log lines and the messages of a command go through one queue, in order.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::io::Errno;
use tracing::warn;

use super::writer::Writer;

/// Writes to stderr, in order with the log lines; never waits for the reader.
pub fn write_to_stderr(text: &str) {
    WRITER.push(text.as_bytes().to_vec());
}

/// Returns the queue of stderr.
pub(super) fn writer() -> &'static Writer {
    &WRITER
}

/// Logs the number of dropped lines. Called on the writer thread.
pub(super) fn report(dropped: u64) {
    warn!(
        lines = dropped,
        "{dropped} log lines were dropped because the reader was too slow"
    );
}

static WRITER: LazyLock<Writer> =
    LazyLock::new(|| Writer::start("stderr", PIPE_BUF, Box::new(write), report));

/// Writes without the lock of `std::io::stderr`, so that other threads do not wait for it.
fn write(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            // A process that shares the file description, such as ssh or a shell, made it
            // non-blocking.
            Err(Errno::AGAIN) => std::thread::sleep(RETRY),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Maximum size of an atomic write to a pipe.
const PIPE_BUF: usize = 4096;

const RETRY: Duration = Duration::from_millis(10);
