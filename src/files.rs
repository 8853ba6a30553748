//! Bounded reads of files named by the user.
//!
//! A read takes at most as many bytes as its caller allows, so `/dev/zero` does not exhaust memory.
//! Where pipes are refused, opening one does not wait for a writer.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Handling of pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipes {
    /// Read until the writer closes it. Blocks for as long as that takes.
    Read,
    /// Return an error.
    Refused,
}

/// Returns the content of a file of at most `max` bytes. Blocks.
///
/// # Errors
///
/// If the file cannot be read, is larger, or is not a file, such as a directory.
pub fn read(path: &Path, max: u64, pipes: Pipes) -> Result<Vec<u8>, ReadError> {
    let file = open(path, pipes)?;
    check_type(&file, pipes)?;
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > max {
        true => Err(ReadError::TooLarge(max)),
        false => Ok(bytes),
    }
}

fn open(path: &Path, pipes: Pipes) -> io::Result<File> {
    let mut options = OpenOptions::new();
    if pipes == Pipes::Refused {
        // Otherwise opening a FIFO waits for a writer.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    }
    options.read(true).open(path)
}

fn check_type(file: &File, pipes: Pipes) -> Result<(), ReadError> {
    let file_type = file.metadata()?.file_type();
    let other = [
        (file_type.is_dir(), "a directory"),
        (file_type.is_fifo() && pipes == Pipes::Refused, "a FIFO"),
        (file_type.is_socket(), "a socket"),
        (file_type.is_block_device(), "a block device"),
    ];
    match other.into_iter().find(|(is, _)| *is) {
        Some((_, name)) => Err(ReadError::NotAFile(name)),
        None => Ok(()),
    }
}

/// Error of a file read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// System error.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Not a file; holds the name of its type.
    #[error("it is {0}, not a regular file")]
    NotAFile(&'static str),
    /// Larger than the limit, which it holds in bytes.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::System(_) => io::ErrorKind::Other,
            ReadError::NotAFile("a directory") => io::ErrorKind::IsADirectory,
            ReadError::NotAFile(_) => io::ErrorKind::InvalidInput,
            ReadError::TooLarge(_) => io::ErrorKind::FileTooLarge,
        };
        match error {
            ReadError::System(error) => error,
            error @ (ReadError::NotAFile(_) | ReadError::TooLarge(_)) => Self::new(kind, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_bounded_and_waits_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let file = directory.path().join("file");
        std::fs::write(&file, "1234").unwrap();
        let read = |path: &Path, max| read(path, max, Pipes::Refused);
        let error = |path: &Path| read(path, 3).unwrap_err().to_string();

        assert_eq!(read(&file, 4).unwrap(), b"1234");
        assert_eq!(error(&file), "it is larger than 3 bytes");
        assert_eq!(error(Path::new("/dev/zero")), "it is larger than 3 bytes");
        assert_eq!(error(&fifo), "it is a FIFO, not a regular file");
        assert_eq!(
            error(directory.path()),
            "it is a directory, not a regular file"
        );
        assert_eq!(read(Path::new("/dev/null"), 0).unwrap(), b"");
    }

    #[test]
    fn a_pipe_is_read_where_it_may_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let path = fifo.clone();
        let writer = std::thread::spawn(move || std::fs::write(path, "text").unwrap());

        assert_eq!(read(&fifo, 4, Pipes::Read).unwrap(), b"text");
        writer.join().unwrap();
    }
}
