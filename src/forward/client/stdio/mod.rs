//! stdin and stdout as a connection; the parent process is the client.
//!
//! Each may be a pipe, a socket, a terminal or a file, and is shared with other processes: the
//! parent's shell reads the same terminal, and `O_NONBLOCK` would be set for all of them. So no
//! flag is changed; what can be polled is polled first. Even then a call may block: a terminal
//! takes less than offered, another process may be faster, a file system may hang. So reads and
//! writes run on blocking threads, which the process does not wait for at exit.
//!
//! ```text
//!   stdin   EOF            the client will write no more, and may still read
//!   stdout  POLLERR, HUP   no reader: the client is gone
//! ```
//!
//! Any other read or write error, such as a full disk, is a fault: bytes were lost. There is no
//! reset: the client sees end of file either way, and the exit code shows which it was
//! (docs/interfaces.md, section 7).

use std::fs::File;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::READ_BUFFER;

/// stdin and stdout, taken from the rest of the process.
#[derive(Debug)]
pub struct Stdio {
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
}

impl Stdio {
    /// Takes stdin and stdout, and replaces them by /dev/null: later prints are discarded and
    /// never mix with the bytes of the connection.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor left.
    pub fn take() -> io::Result<Self> {
        let taken = Self {
            input: io::stdin().as_fd().try_clone_to_owned()?,
            output: io::stdout().as_fd().try_clone_to_owned()?,
        };
        rustix::stdio::dup2_stdin(File::open(DEV_NULL)?)?;
        rustix::stdio::dup2_stdout(File::options().write(true).open(DEV_NULL)?)?;
        Ok(taken)
    }

    /// Returns a duplicate that keeps stdout open until it is dropped.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor left.
    pub fn hold(&self) -> io::Result<OwnedFd> {
        self.output.try_clone()
    }
}

/// Failure of a read or write, other than a closed reader.
#[derive(Clone, Debug)]
pub(in crate::forward) struct StdioIoError {
    /// What failed, with the system's error.
    pub(in crate::forward) what: String,
    /// What to do about it.
    pub(in crate::forward) hint: &'static str,
}

/// Receives the first fault, even after the connection is closed.
pub(in crate::forward) type StdioIoErrors = watch::Receiver<Option<StdioIoError>>;

#[derive(Debug)]
pub(in crate::forward) struct StdioSocket {
    input: AsyncStdio,
    output: AsyncStdio,
    /// A duplicate of the output, to wait for its end independently of writers.
    end: AsyncStdio,
    is_socket: bool,
    /// Duplicates of the same two descriptors, for the blocking threads.
    reader: Arc<OwnedFd>,
    writer: Arc<OwnedFd>,
    /// The read in progress: it outlives a cancelled caller, so that its bytes are not lost.
    reading: Mutex<Option<JoinHandle<io::Result<Vec<u8>>>>>,
    fault: watch::Sender<Option<StdioIoError>>,
}

impl StdioSocket {
    /// Wraps two descriptors, which may refer to the same file.
    pub(super) fn new(standard: Stdio) -> io::Result<Self> {
        let Stdio { input, output } = standard;
        let end = File::from(output.try_clone()?);
        let is_socket = end.metadata()?.file_type().is_socket();
        let reader = Arc::new(input.try_clone()?);
        let writer = Arc::new(output.try_clone()?);
        Ok(Self {
            input: AsyncStdio::new(input, Interest::READABLE)?,
            output: AsyncStdio::new(output, Interest::WRITABLE)?,
            // Hang-ups are reported for any interest.
            end: AsyncStdio::new(end.into(), Interest::READABLE)?,
            is_socket,
            reader,
            writer,
            reading: Mutex::new(None),
            fault: watch::Sender::new(None),
        })
    }

    /// Returns a receiver of the first fault.
    pub(super) fn faults(&self) -> StdioIoErrors {
        self.fault.subscribe()
    }

    /// Reads available bytes, or waits for some. Fails at once if the output has no reader or a
    /// fault.
    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        let mut faults = self.faults();
        tokio::select! {
            biased;
            () = self.client_closed() => Err(io::ErrorKind::BrokenPipe.into()),
            _ = faults.wait_for(Option::is_some) => Err(io::ErrorKind::BrokenPipe.into()),
            read = self.take() => read.inspect_err(|error| {
                self.note(&format!("cannot read stdin: {error}"), READABLE, error);
            }),
        }
    }

    /// Records the first fault. A closed peer is not a fault.
    fn note(&self, what: &str, hint: &'static str, error: &io::Error) {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
        if !matches!(error.kind(), BrokenPipe | ConnectionReset | WouldBlock) {
            let what = what.to_owned();
            self.fault.send_if_modified(|fault| {
                let is_first = fault.is_none();
                fault.get_or_insert(StdioIoError { what, hint });
                is_first
            });
        }
    }

    /// Cancel safe: the next call returns what was read.
    async fn take(&self) -> io::Result<Vec<u8>> {
        let mut reading = self.reading.lock().await;
        let read = match &mut *reading {
            Some(read) => read,
            None => {
                self.input.ready(Interest::READABLE, PollFlags::IN).await?;
                let input = Arc::clone(&self.reader);
                reading.insert(spawn_blocking(move || {
                    let mut buffer = Vec::with_capacity(READ_BUFFER);
                    rustix::io::read(&*input, spare_capacity(&mut buffer))?;
                    Ok(buffer)
                }))
            }
        };
        let read = read.await;
        *reading = None;
        read.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Writes a part. [`io::ErrorKind::WouldBlock`] if the output is not writable. A write that has
    /// started continues when its caller is cancelled.
    pub(super) async fn write(&self, data: &[u8]) -> io::Result<usize> {
        if !self.output.is_ready(PollFlags::OUT)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = match self.is_socket {
            true => rustix::net::send(self.output.get(), data, SendFlags::DONTWAIT)
                .map_err(io::Error::from),
            false => self.write_on_a_thread(data).await,
        };
        written.inspect_err(|error| {
            self.note(&format!("cannot write to stdout: {error}"), WRITABLE, error);
        })
    }

    async fn write_on_a_thread(&self, data: &[u8]) -> io::Result<usize> {
        let len = match &self.output {
            AsyncStdio::Watched(..) => data.len().min(MAX_UNBLOCKED_WRITE),
            AsyncStdio::AlwaysReady(_) => data.len(),
        };
        let (output, data) = (Arc::clone(&self.writer), data[..len].to_vec());
        let written = spawn_blocking(move || rustix::io::write(&*output, &data)).await;
        Ok(written.map_err(io::Error::other)??)
    }

    /// Waits until the output is writable.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.output.ready(Interest::WRITABLE, PollFlags::OUT).await
    }

    /// Waits until the output has no reader. Never returns if that is unknown, as for a file.
    pub(super) async fn client_closed(&self) {
        // The descriptor is registered for reading only, so only a hang-up makes it writable.
        let end = self.end.ready(Interest::WRITABLE, PollFlags::empty());
        if matches!(self.end, AsyncStdio::AlwaysReady(_)) || end.await.is_err() {
            pending::<()>().await;
        }
    }

    /// Returns true if the output has no reader.
    pub(super) fn is_closed(&self) -> bool {
        self.end.is_ready(PollFlags::empty()).unwrap_or(false)
    }
}

/// A descriptor, registered with the runtime if it can be polled.
#[derive(Debug)]
enum AsyncStdio {
    /// Can be polled; also the interest it is registered with.
    Watched(AsyncFd<OwnedFd>, Interest),
    /// A file, or a device like `/dev/null`.
    AlwaysReady(OwnedFd),
}

impl AsyncStdio {
    fn new(descriptor: OwnedFd, interest: Interest) -> io::Result<Self> {
        match register(descriptor, interest) {
            Ok(watched) => Ok(Self::Watched(watched, interest)),
            Err(error) => match error.into_parts() {
                (descriptor, why) if why.kind() == io::ErrorKind::PermissionDenied => {
                    Ok(Self::AlwaysReady(descriptor))
                }
                (_, why) => Err(why),
            },
        }
    }

    fn get(&self) -> &OwnedFd {
        match self {
            Self::Watched(watched, _) => watched.get_ref(),
            Self::AlwaysReady(descriptor) => descriptor,
        }
    }

    /// Waits until [`AsyncStdio::is_ready`] returns true.
    ///
    /// The runtime never forgets that the other end was closed, but that of a FIFO may be opened
    /// again. Then a duplicate is waited for, whose registration begins with the current state.
    async fn ready(&self, interest: Interest, flags: PollFlags) -> io::Result<()> {
        let Self::Watched(watched, registered) = self else {
            return Ok(());
        };
        let mut duplicate = None;
        loop {
            let mut guard = duplicate
                .as_ref()
                .unwrap_or(watched)
                .ready(interest)
                .await?;
            if self.is_ready(flags)? {
                return Ok(());
            }
            let seen = guard.ready();
            guard.clear_ready();
            if seen.is_read_closed() || seen.is_write_closed() {
                duplicate = Some(register(watched.get_ref().try_clone()?, *registered)?);
            }
        }
    }

    /// Returns true if one of these flags is set, or the other end is closed.
    fn is_ready(&self, flags: PollFlags) -> io::Result<bool> {
        if matches!(self, Self::AlwaysReady(_)) {
            return Ok(!flags.is_empty());
        }
        let mut asked = [PollFd::new(self.get(), flags)];
        Ok(poll(&mut asked, Some(&Timespec::default()))? > 0)
    }
}

fn register(
    descriptor: OwnedFd,
    interest: Interest,
) -> Result<AsyncFd<OwnedFd>, AsyncFdRegisterError<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its replacement is unsafe, and requires what OwnedFd guarantees"
    )]
    AsyncFd::try_with_interest(descriptor, interest)
}

/// Replaces stdin and stdout.
const DEV_NULL: &str = "/dev/null";

/// Bytes that a pipe takes without blocking if it is writable and has no other writer (`PIPE_BUF`,
/// pipe(7)): so a slow reader blocks no thread.
const MAX_UNBLOCKED_WRITE: usize = 4096;

const READABLE: &str = "connect stdin to a readable file or pipe";
const WRITABLE: &str = "unwritten bytes are lost: free space, or redirect stdout elsewhere";

#[cfg(test)]
mod tests;
