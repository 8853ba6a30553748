//! Lock file of a Unix socket: one process of this user at a time checks and binds the path.
//!
//! The file is next to the socket (`db.sock.lock`), belongs to this user, has mode 0600 and is
//! removed when the lock is released. No other user can open such a file and hold the lock. A lock
//! on the directory is no alternative: any user who may open the directory could hold it.
//!
//! In a directory where others may create files, one of theirs may be at this path. It is neither
//! used, nor waited for, nor removed: the socket is bound without the lock then. The lock only
//! protects two starts of the same user from each other; `bind` itself replaces nothing.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use tracing::{debug, warn};

use crate::forward::listener::error::ListenErrorKind;

/// A held lock. Dropping it removes the file and releases the lock.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// Waits for the lock of a socket path. Blocks. Returns `None` if no lock is possible: `bind`
    /// reports what is wrong with the directory, if anything.
    ///
    /// # Errors
    ///
    /// If the directory does not exist, or another process holds the lock for too long.
    pub(super) fn acquire(socket: &Path) -> Result<Option<Self>, ListenErrorKind> {
        let path = path_of(socket);
        for _ in 0..ATTEMPTS {
            match try_acquire(&path) {
                Ok(LockAttempt::Held(file)) => return Ok(Some(Self { path, file })),
                Ok(LockAttempt::Busy) => thread::sleep(PAUSE),
                Ok(LockAttempt::Foreign) => {
                    let path = path.display();
                    warn!(%path, "binding without a lock: the lock file is not a private file of this user");
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(ListenErrorKind::NoDirectory);
                }
                Err(error) => {
                    let path = path.display();
                    debug!(%error, %path, "binding without a lock: cannot use the lock file");
                    return Ok(None);
                }
            }
        }
        Err(ListenErrorKind::Locked(path))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // While the lock is held, so that no process locks a file that has left the path.
        if is_at(&self.path, &self.file)
            && let Err(error) = fs::remove_file(&self.path)
        {
            let path = self.path.display();
            warn!(%error, %path, "cannot remove the lock file");
        }
    }
}

/// Returns the path of the lock file of a socket.
fn path_of(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

enum LockAttempt {
    Held(File),
    /// Another process holds it, or has just removed it.
    Busy,
    /// It is not a private file of this user.
    Foreign,
}

fn try_acquire(path: &Path) -> io::Result<LockAttempt> {
    // Without NONBLOCK, opening a FIFO could block indefinitely.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .mode(MODE)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        // A file of another user, a link, a directory or a socket. With nothing at the path,
        // the directory refused a new file, which `bind` reports.
        Err(error) if error.kind() != io::ErrorKind::NotFound && exists(path) => {
            return Ok(LockAttempt::Foreign);
        }
        Err(error) => return Err(error),
    };
    if !is_private(&file.metadata()?) {
        return Ok(LockAttempt::Foreign);
    }
    match file.try_lock() {
        Ok(()) if is_at(path, &file) => Ok(LockAttempt::Held(file)),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(LockAttempt::Busy),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns true for a regular file of this user without other links or access for others.
fn is_private(metadata: &Metadata) -> bool {
    metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.nlink() <= 1
        && metadata.mode() & FOR_OTHERS == 0
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn is_at(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(held)) = (fs::symlink_metadata(path), file.metadata()) else {
        return false;
    };
    (there.dev(), there.ino()) == (held.dev(), held.ino())
}

const MODE: u32 = 0o600;

/// The permissions of group and others.
const FOR_OTHERS: u32 = 0o077;

/// The lock is held for less than a millisecond.
const ATTEMPTS: usize = 200;
const PAUSE: Duration = Duration::from_millis(10);
