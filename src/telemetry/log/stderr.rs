//! stderr, which may be a pipe that nobody reads, or a terminal that was halted.
//!
//! Lines of the log and what a command says itself go through one queue, in their order.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::io::Errno;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use super::line;
use super::writer::Writer;

/// Writes to stderr, in order with the lines of the log, and never waits for its reader.
pub fn write_to_stderr(text: &str) {
    WRITER.push(text.as_bytes().to_vec());
}

/// The queue of stderr.
pub(super) fn writer() -> &'static Writer {
    &WRITER
}

/// Logs that lines were dropped; from the writer's own thread.
pub(super) fn report(dropped: u64) {
    warn!(
        lines = dropped,
        "{dropped} log lines were dropped because nobody read them"
    );
}

/// Where the layers of the log write their lines.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lines {
    /// For people.
    Text {
        /// The formatter writes colours.
        colour: bool,
    },
    /// For programs.
    Json,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

/// The formatter writes each line as a whole.
impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        WRITER.push(match *self {
            Self::Text { colour } => line::text(&text, colour),
            Self::Json => line::json(&text),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static WRITER: LazyLock<Writer> =
    LazyLock::new(|| Writer::start("stderr", PIPE_BUF, Box::new(write), report));

/// Without the lock of `std::io::stderr`, which others would wait for.
fn write(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            // Whoever shares it has made it so: ssh does, and a shell.
            Err(Errno::AGAIN) => std::thread::sleep(RETRY),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Up to here a write into a pipe is not mixed with those of other processes.
const PIPE_BUF: usize = 4096;

const RETRY: Duration = Duration::from_millis(10);
