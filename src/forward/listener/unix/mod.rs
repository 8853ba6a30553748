//! A listener on a Unix socket, and its socket file.
//!
//! Invariants: only users permitted by `mode` can connect, at any time, and no file of another
//! process is removed.
//!
//! ```text
//!   lock (lock.rs) ────▶ check path ─────▶ bind ─▶ listen ─▶ unlock
//!                          free                 ▲
//!                          stale socket: remove ┘    socket in use, or no socket: error
//! ```
//!
//! - **Mode.** On Linux the file of a socket is created with the permissions of the socket, less
//!   the umask: they are set before `bind`, so the file is never open to more, and what the umask
//!   removed is restored afterwards. (Binding in a private directory and renaming would do the
//!   same, but show another name in `ss`, and need space for it in the address.)
//! - **Stale or in use.** Tested by connecting a *datagram* socket: a stale socket refuses the
//!   connection, one held by a program has the wrong type. No program ever accepts this connection,
//!   and a program between its `bind` and its `listen` is not considered stale.
//! - **Concurrent starts.** The lock file makes check and `bind` atomic. `bind` itself replaces
//!   nothing. A directory in which others may replace files is reported: there they can replace the
//!   socket as well.
//! - **Removal.** The file is removed while its socket is still open, if it is still the same file:
//!   until then its inode number cannot be reused.

mod lock;

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
#[cfg(target_os = "linux")]
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::fs::OFlags;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use self::lock::LockFile;
use super::BACKLOG;
use super::error::ListenErrorKind;

/// A listening Unix socket. Dropping it removes its file.
#[derive(Debug)]
pub struct SocketFile {
    /// Dropped first, while the socket is open.
    file: BoundFile,
    listener: UnixListener,
}

impl SocketFile {
    /// Binds a path without a listener. `mode` sets who may connect. The work is done on a blocking
    /// thread: its disk may not respond. While an attempt that timed out occupies its thread, no
    /// other one of the same path starts.
    ///
    /// # Errors
    ///
    /// The reason why the path cannot be bound. No file is left then.
    pub async fn bind(path: &Path, mode: u32) -> Result<Self, ListenErrorKind> {
        let timed_out = || Err(io::Error::from(io::ErrorKind::TimedOut).into());
        if stuck()
            .get(path)
            .is_some_and(|former| former.strong_count() > 0)
        {
            return timed_out();
        }
        let running = Arc::new(());
        let marker = Arc::downgrade(&running);
        let owned = path.to_owned();
        let binding = spawn_blocking(move || {
            let bound = Self::bind_blocking(&owned, mode);
            drop(running);
            bound
        });
        match timeout(TIMEOUT, binding).await {
            Ok(bound) => bound.unwrap_or_else(|panic| Err(io::Error::other(panic).into())),
            Err(_) => {
                stuck().insert(path.to_owned(), marker);
                timed_out()
            }
        }
    }

    fn bind_blocking(path: &Path, mode: u32) -> Result<Self, ListenErrorKind> {
        let _lock = LockFile::acquire(path)?;
        warn_if_replaceable(path);
        clear(path)?;
        let socket = socket(mode)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = BoundFile::new(path)?;
        file.widen(mode)?;
        socket.listen(BACKLOG)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self { file, listener })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// Returns the system's error, which concerns the listener or one connection.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Changes who may connect.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.widen(mode)
    }

    /// Returns the path of the socket file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

/// Attempts to bind a path that have timed out, each with a marker that its thread holds.
type Stuck = BTreeMap<PathBuf, Weak<()>>;

fn stuck() -> MutexGuard<'static, Stuck> {
    static STUCK: Mutex<Stuck> = Mutex::new(Stuck::new());
    STUCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file created by our `bind`. Dropping it removes the file.
#[derive(Debug)]
struct BoundFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl BoundFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Sets the mode, restoring what the umask removed.
    fn widen(&self, mode: u32) -> io::Result<()> {
        let metadata = fs::symlink_metadata(&self.path)?;
        if self.is(&metadata) && metadata.mode() & ALL != mode {
            self.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Changes the permissions of this file only: a link that has replaced it is not followed.
    #[cfg(target_os = "linux")]
    fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let handle = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path)?;
        if !self.is(&handle.metadata()?) {
            return Ok(());
        }
        let by_handle = format!("/proc/self/fd/{}", handle.as_raw_fd());
        fs::set_permissions(by_handle, permissions)
    }

    #[cfg(not(target_os = "linux"))]
    fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        fs::set_permissions(&self.path, permissions)
    }

    fn is(&self, metadata: &Metadata) -> bool {
        metadata.file_type().is_socket()
            && (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }
}

impl Drop for BoundFile {
    fn drop(&mut self) {
        let Ok(metadata) = fs::symlink_metadata(&self.path) else {
            return;
        };
        let path = self.path.display();
        if !self.is(&metadata) {
            debug!(%path, "socket not removed: it was replaced by another file");
        } else if let Err(error) = fs::remove_file(&self.path) {
            warn!(%path, %error, "cannot remove the socket");
        }
    }
}

/// Logs a warning for a directory in which every user may remove files, and so replace the
/// socket. In a sticky directory such as /tmp they cannot.
fn warn_if_replaceable(path: &Path) {
    let directory = path.parent().unwrap_or(path);
    let Ok(metadata) = fs::metadata(directory) else {
        return;
    };
    if metadata.mode() & (WRITABLE_BY_OTHERS | STICKY) == WRITABLE_BY_OTHERS {
        warn!(
            directory = %directory.display(),
            hint = "choose a directory that only this user can write to",
            "every user can replace the sockets in this directory"
        );
    }
}

/// Removes a stale socket, and nothing else.
fn clear(path: &Path) -> Result<(), ListenErrorKind> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenErrorKind::NotASocket);
    }
    let probe = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    match probe
        .connect(&SockAddr::unix(path)?)
        .map_err(|error| (error.kind(), error))
    {
        Err((io::ErrorKind::ConnectionRefused, _)) => {
            fs::remove_file(path)?;
            info!(path = %path.display(), "replacing an unused socket");
            Ok(())
        }
        Err((io::ErrorKind::NotFound, _)) => Ok(()),
        Err((io::ErrorKind::PermissionDenied, error)) => Err(error.into()),
        // Wrong type: a stream socket in use; success: a datagram socket.
        Ok(()) | Err(_) => Err(ListenErrorKind::InUse),
    }
}

/// Creates a socket whose file will have no more than these permissions.
fn socket(mode: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if !cfg!(target_os = "linux") {
        // Elsewhere a socket has no permissions before its file has; the umask applies.
        return Ok(socket);
    }
    let file = File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(OwnedFd::from(file).into())
}

/// Timeout for binding a socket; longer than the wait for its lock.
const TIMEOUT: Duration = Duration::from_secs(5);

/// All permission bits.
const ALL: u32 = 0o777;

/// Write permission of others on a directory, and the sticky bit.
const WRITABLE_BY_OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests;
