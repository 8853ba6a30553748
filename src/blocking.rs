//! The door for work that may block a thread: files on a disk that does not respond.
//!
//! The work runs on a thread of its own. A blocked thread cannot be ended, so callers set a timeout
//! and continue without the result. In virtual time (unit tests) the work runs on the only thread.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

/// Runs work on a thread where it may block.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    #[cfg(test)]
    if crate::clock::virtual_time::is_active() {
        return virtual_disk::spawn(async move { work() });
    }
    spawn_blocking(work)
}

/// Runs a future on a thread where it may block.
pub fn spawn_future<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(test)]
    if crate::clock::virtual_time::is_active() {
        return virtual_disk::spawn(future);
    }
    let runtime = Handle::current();
    spawn_blocking(move || runtime.block_on(future))
}

#[cfg(test)]
pub mod virtual_disk {
    //! The disk of a thread in virtual time: it can be slow or full.

    use std::cell::Cell;
    use std::future::Future;
    use std::io;
    use std::time::Duration;

    use tokio::task::JoinHandle;

    thread_local! {
        static DISK: Cell<Disk> = const { Cell::new(Disk::Good) };
        static HITS: Cell<u32> = const { Cell::new(0) };
    }

    /// Condition of the disk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Disk {
        /// It has space and responds at once.
        Good,
        /// Writes of the journal fail.
        Full,
        /// All work takes this long.
        Slow(Duration),
    }

    /// Sets the condition of the disk.
    pub fn set(disk: Disk) {
        DISK.set(disk);
    }

    /// Returns how often the disk was used while it was full or slow, and forgets it.
    pub fn take_hits() -> u32 {
        HITS.take()
    }

    /// # Errors
    ///
    /// If the disk is full.
    pub fn check_space() -> io::Result<()> {
        match DISK.get() {
            Disk::Full => {
                HITS.set(HITS.get() + 1);
                Err(io::ErrorKind::StorageFull.into())
            }
            Disk::Good | Disk::Slow(_) => Ok(()),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "as spawn_blocking, whose work no one owns"
    )]
    pub(super) fn spawn<T: Send + 'static>(
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let disk = DISK.get();
        tokio::spawn(async move {
            if let Disk::Slow(delay) = disk {
                HITS.set(HITS.get() + 1);
                tokio::time::sleep(delay).await;
            }
            work.await
        })
    }
}
