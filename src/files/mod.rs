//! Bounded reads and atomic writes of the user's files.
//!
//! A read takes at most as many bytes as its caller allows, so `/dev/zero` does not exhaust memory.
//! Where pipes are refused, opening one does not wait for a writer. A program that reads a file
//! while it is replaced gets the previous content or the new one.

mod overwrite;
mod temporary;

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{OFlags, listxattr};
use rustix::io::Errno;

pub use self::overwrite::backup_path;
use self::overwrite::overwrite;
use self::temporary::create_beside;

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

/// Handling of a symbolic link in place of a file that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Replace the file that it points to.
    Followed,
    /// Replace the link: the file that it points to is not changed.
    Replaced,
}

/// Replaces the content of a file, keeping its mode and owner, or creates one readable by its owner
/// only. Blocks.
///
/// # Errors
///
/// If it is not a regular file, such as /dev/null; if a file cannot be created in the same directory,
/// or its owner cannot be kept. The file is unchanged then.
pub fn replace(path: &Path, content: &[u8], links: Links) -> io::Result<()> {
    let path = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() && links == Links::Followed => fs::canonicalize(path)?,
        _ => path.to_owned(),
    };
    let previous = match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => Some(found),
        Ok(found) if found.is_symlink() => None,
        Ok(_) => {
            let why = "it is not a regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let (temporary, file) = create_beside(&path)?;
    let written = fill(file, content, previous).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // The first error is reported.
        let _left = fs::remove_file(&temporary);
    }
    written
}

/// As [`replace`], following a link; but some files are overwritten, which a reader may see half done:
/// one with extended attributes, such as an ACL or an SELinux label, which would be lost, one that a
/// container runtime has mounted, and one in a directory that this user cannot write. While it is
/// overwritten, its former content is at [`backup_path`], if a file can be created there. Blocks.
///
/// # Errors
///
/// If the file cannot be written either.
pub fn replace_or_overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    if has_attributes(path) {
        return overwrite(path, content);
    }
    let Err(error) = replace(path, content, Links::Followed) else {
        return Ok(());
    };
    let is_in_the_way = matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
    );
    match is_in_the_way {
        true => overwrite(path, content),
        false => Err(error),
    }
}

/// Returns whether a file has extended attributes. False if that is unknown.
fn has_attributes(path: &Path) -> bool {
    match listxattr(path, &mut [0_u8; 1][..]) {
        Ok(length) => length > 0,
        Err(error) => error == Errno::RANGE,
    }
}

/// Creates a file that does not exist, with its whole content at once. Blocks.
///
/// # Errors
///
/// If it exists, or cannot be created. Nothing is left then.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        // Unlike a rename, a link does not replace anything.
        .and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    written.and(removed)
}

fn fill(mut file: File, content: &[u8], previous: Option<Metadata>) -> io::Result<()> {
    file.write_all(content)?;
    if let Some(previous) = previous {
        let created = file.metadata()?;
        if (created.uid(), created.gid()) != (previous.uid(), previous.gid()) {
            let kept = fchown(&file, Some(previous.uid()), Some(previous.gid()));
            // A group that this process is not in does not matter to its own files.
            kept.or_else(|error| match created.uid() == previous.uid() {
                true => Ok(()),
                false => Err(error),
            })?;
        }
        file.set_permissions(previous.permissions())?;
    }
    file.sync_all()
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
    fn a_read_is_bounded_and_does_not_wait_for_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let file = directory.path().join("file");
        fs::write(&file, "1234").unwrap();
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
    fn a_reader_gets_the_previous_content_or_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "previous").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let mut open = File::open(&path).unwrap();

        replace(&path, b"new", Links::Followed).unwrap();

        let mut seen = String::new();
        open.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "previous");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_followed_or_replaced() {
        for (links, target) in [(Links::Followed, "new"), (Links::Replaced, "previous")] {
            let directory = tempfile::tempdir().unwrap();
            let (link, file) = (directory.path().join("link"), directory.path().join("file"));
            fs::write(&file, "previous").unwrap();
            std::os::unix::fs::symlink(&file, &link).unwrap();

            replace(&link, b"new", links).unwrap();

            assert_eq!(fs::read(&link).unwrap(), b"new");
            assert_eq!(fs::read_to_string(&file).unwrap(), target);
            let is_link = fs::symlink_metadata(&link).unwrap().is_symlink();
            assert_eq!(is_link, links == Links::Followed);
        }
    }

    /// A device such as /dev/null would be lost to the whole machine.
    #[test]
    fn only_a_regular_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (fifo, link) = (directory.path().join("fifo"), directory.path().join("link"));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        std::os::unix::fs::symlink(&fifo, &link).unwrap();

        for (path, links) in [
            (&fifo, Links::Followed),
            (&fifo, Links::Replaced),
            (&link, Links::Followed),
        ] {
            let error = replace(path, b"new", links).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file");
            let kept = fs::symlink_metadata(&fifo).unwrap().file_type();
            assert!(kept.is_fifo(), "{}", path.display());
        }
        replace_or_overwrite(&link, b"new").unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_write_leaves_the_file_and_no_temporary_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("directory");
        fs::create_dir(&path).unwrap();

        replace(&path, b"new", Links::Replaced).unwrap_err();

        assert!(path.is_dir());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pipe_is_read_where_pipes_are_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let path = fifo.clone();
        let writer = std::thread::spawn(move || fs::write(path, "text").unwrap());

        assert_eq!(read(&fifo, 4, Pipes::Read).unwrap(), b"text");
        writer.join().unwrap();
    }

    #[test]
    fn a_file_with_attributes_keeps_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, "previous").unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(&path, "user.label", b"x", flags).is_err() {
            return println!("skipped: this file system has no extended attributes");
        }

        replace_or_overwrite(&path, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(has_attributes(&path));
    }
}
