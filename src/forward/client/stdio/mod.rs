//! stdin and stdout as a connection: whoever started us is the client.
//!
//! Each may be a pipe, a socket, a terminal or a file, and belongs to others as well: the parent's
//! shell reads the same terminal, and `O_NONBLOCK` would be set for all of them. So nothing is set.
//! What can be waited for is asked whether it is ready first. Even then a call may block: a terminal
//! takes less than it is given, another process may be faster, a file system may hang. So reads and
//! writes run on threads that may block. At the end of the process nothing waits for them.
//!
//! ```text
//!   stdin   EOF            the client will write no more, and may still read
//!   stdout  POLLERR, HUP   nobody reads: the client is gone
//! ```
//!
//! What cannot be read or written for another reason, as on a full disk, is no end: bytes were lost.
//! There is no reset. The client sees an end either way, and is told by the exit code which it was
//! (interfaces.md section 7).

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
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::READ_BUFFER;

/// stdin and stdout, taken away from the rest of the process.
#[derive(Debug)]
pub struct Standard {
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
}

impl Standard {
    /// Takes stdin and stdout, and puts nothing in their places: what is printed from now on goes
    /// nowhere, and never among the bytes of the connection.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor left.
    pub fn take() -> io::Result<Self> {
        let taken = Self {
            input: io::stdin().as_fd().try_clone_to_owned()?,
            output: io::stdout().as_fd().try_clone_to_owned()?,
        };
        rustix::stdio::dup2_stdin(File::open(NOTHING)?)?;
        rustix::stdio::dup2_stdout(File::options().write(true).open(NOTHING)?)?;
        Ok(taken)
    }

    /// Keeps stdout open, whatever becomes of the connection, until this is dropped.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor left.
    pub fn hold(&self) -> io::Result<OwnedFd> {
        self.output.try_clone()
    }
}

/// What kept bytes from being read or written, other than that their reader left.
#[derive(Clone, Debug)]
pub(in crate::forward) struct Fault {
    /// What failed and what the system says.
    pub(in crate::forward) what: String,
    /// What to do about it.
    pub(in crate::forward) hint: &'static str,
}

/// Tells of the first fault, even when the connection is closed.
pub(in crate::forward) type Faults = watch::Receiver<Option<Fault>>;

/// The connection.
#[derive(Debug)]
pub(in crate::forward) struct StandardSocket {
    input: Waited,
    output: Waited,
    /// The output once more: waits for its end apart from those who wait for room.
    end: Waited,
    is_socket: bool,
    /// The same two descriptors, for the threads that read and write.
    reader: Arc<OwnedFd>,
    writer: Arc<OwnedFd>,
    /// The read that is under way: it outlives whoever waits for it, so that its bytes are not lost.
    reading: Mutex<Option<JoinHandle<io::Result<Vec<u8>>>>>,
    fault: watch::Sender<Option<Fault>>,
}

impl StandardSocket {
    /// Takes two descriptors, which may be of the same thing.
    pub(super) fn new(standard: Standard) -> io::Result<Self> {
        let Standard { input, output } = standard;
        let end = File::from(output.try_clone()?);
        let is_socket = end.metadata()?.file_type().is_socket();
        let reader = Arc::new(input.try_clone()?);
        let writer = Arc::new(output.try_clone()?);
        Ok(Self {
            input: Waited::new(input, Interest::READABLE)?,
            output: Waited::new(output, Interest::WRITABLE)?,
            // Hang-ups are told whatever one is interested in.
            end: Waited::new(end.into(), Interest::READABLE)?,
            is_socket,
            reader,
            writer,
            reading: Mutex::new(None),
            fault: watch::Sender::new(None),
        })
    }

    /// Where a fault is told.
    pub(super) fn faults(&self) -> Faults {
        self.fault.subscribe()
    }

    /// Reads what is there, or waits for something. That nobody reads the output, or that it takes
    /// nothing, ends this at once.
    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        let mut faults = self.faults();
        tokio::select! {
            biased;
            () = self.gone() => Err(io::ErrorKind::BrokenPipe.into()),
            _ = faults.wait_for(Option::is_some) => Err(io::ErrorKind::BrokenPipe.into()),
            read = self.take() => read.inspect_err(|error| {
                self.note(&format!("stdin cannot be read: {error}"), READABLE, error);
            }),
        }
    }

    /// Keeps the first fault. That whoever is at the other end left is none.
    fn note(&self, what: &str, hint: &'static str, error: &io::Error) {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
        if !matches!(error.kind(), BrokenPipe | ConnectionReset | WouldBlock) {
            let what = what.to_owned();
            self.fault.send_if_modified(|fault| {
                let is_first = fault.is_none();
                fault.get_or_insert(Fault { what, hint });
                is_first
            });
        }
    }

    /// Cancelling loses nothing: the next call returns what was read.
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

    /// Writes a part. [`io::ErrorKind::WouldBlock`] if there is no room. A write that has begun goes
    /// on after its caller has given up.
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
            self.note(
                &format!("stdout cannot be written: {error}"),
                WRITABLE,
                error,
            );
        })
    }

    async fn write_on_a_thread(&self, data: &[u8]) -> io::Result<usize> {
        let len = match &self.output {
            Waited::Watched(_) => data.len().min(SELDOM_BLOCKS),
            Waited::Never(_) => data.len(),
        };
        let (output, data) = (Arc::clone(&self.writer), data[..len].to_vec());
        let written = spawn_blocking(move || rustix::io::write(&*output, &data)).await;
        Ok(written.map_err(io::Error::other)??)
    }

    /// Waits for room.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.output.ready(Interest::WRITABLE, PollFlags::OUT).await
    }

    /// Waits until nobody reads the output. Never ends if that cannot be told, as of a file.
    pub(super) async fn gone(&self) {
        // Only an end makes something writable that is not watched for room.
        let end = self.end.ready(Interest::WRITABLE, PollFlags::empty());
        if matches!(self.end, Waited::Never(_)) || end.await.is_err() {
            pending::<()>().await;
        }
    }

    /// True if nobody reads the output.
    pub(super) fn is_closed(&self) -> bool {
        self.end.is_ready(PollFlags::empty()).unwrap_or(false)
    }
}

/// A descriptor, and how to wait for it.
#[derive(Debug)]
enum Waited {
    Watched(AsyncFd<OwnedFd>),
    /// A file, or a device like `/dev/null`: always ready.
    Never(OwnedFd),
}

impl Waited {
    fn new(descriptor: OwnedFd, interest: Interest) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its unsafe successor asks for what an OwnedFd promises"
        )]
        let watched = AsyncFd::try_with_interest(descriptor, interest);
        match watched {
            Ok(watched) => Ok(Self::Watched(watched)),
            Err(error) => match error.into_parts() {
                (descriptor, why) if why.kind() == io::ErrorKind::PermissionDenied => {
                    Ok(Self::Never(descriptor))
                }
                (_, why) => Err(why),
            },
        }
    }

    fn get(&self) -> &OwnedFd {
        match self {
            Self::Watched(watched) => watched.get_ref(),
            Self::Never(descriptor) => descriptor,
        }
    }

    /// Waits until [`Waited::is_ready`].
    async fn ready(&self, interest: Interest, flags: PollFlags) -> io::Result<()> {
        let Self::Watched(watched) = self else {
            return Ok(());
        };
        loop {
            let mut guard = watched.ready(interest).await?;
            if self.is_ready(flags)? {
                return Ok(());
            }
            guard.clear_ready();
        }
    }

    /// Whether one of these flags is up, or the other end is gone.
    fn is_ready(&self, flags: PollFlags) -> io::Result<bool> {
        if matches!(self, Self::Never(_)) {
            return Ok(!flags.is_empty());
        }
        let mut asked = [PollFd::new(self.get(), flags)];
        Ok(poll(&mut asked, Some(&Timespec::default()))? > 0)
    }
}

/// Where nothing is read and nothing is kept.
const NOTHING: &str = "/dev/null";

/// What a pipe takes at once if it has room and nobody else writes (`PIPE_BUF`, pipe(7)): so a reader
/// that is slow keeps no thread.
const SELDOM_BLOCKS: usize = 4096;

const READABLE: &str = "give it a file or a pipe that can be read";
const WRITABLE: &str = "what was not written is lost: make room, or lead stdout elsewhere";

#[cfg(test)]
mod tests;
