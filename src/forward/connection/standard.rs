//! stdin and stdout as a connection: whoever started us is the client.
//!
//! Each may be a pipe, a socket, a terminal or a file, and belongs to others as well: the parent's
//! shell reads the same terminal, and `O_NONBLOCK` would be set for all of them. So nothing is set.
//! What can be waited for is asked whether it is ready, and then read or written so little that it
//! does not block; a file is always ready.
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

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

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
    fault: watch::Sender<Option<Fault>>,
}

impl StandardSocket {
    /// Takes two descriptors, which may be of the same thing.
    pub(super) fn new(standard: Standard) -> io::Result<Self> {
        let Standard { input, output } = standard;
        let end = File::from(output.try_clone()?);
        let is_socket = end.metadata()?.file_type().is_socket();
        Ok(Self {
            input: Waited::new(input, Interest::READABLE)?,
            output: Waited::new(output, Interest::WRITABLE)?,
            // Hang-ups are told whatever one is interested in.
            end: Waited::new(end.into(), Interest::READABLE)?,
            is_socket,
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

    async fn take(&self) -> io::Result<Vec<u8>> {
        self.input.ready(Interest::READABLE, PollFlags::IN).await?;
        let mut buffer = Vec::with_capacity(READ_BUFFER);
        rustix::io::read(self.input.get(), spare_capacity(&mut buffer))?;
        Ok(buffer)
    }

    /// Writes a part, if that does not block.
    pub(super) fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        if !self.output.is_ready(PollFlags::OUT)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let output = self.output.get();
        let written = match (self.is_socket, &self.output) {
            (true, _) => rustix::net::send(output, data, SendFlags::DONTWAIT),
            (false, Waited::Never(_)) => rustix::io::write(output, data),
            (false, Waited::Watched(_)) => {
                rustix::io::write(output, &data[..data.len().min(NEVER_BLOCKS)])
            }
        };
        written.map_err(io::Error::from).inspect_err(|error| {
            self.note(
                &format!("stdout cannot be written: {error}"),
                WRITABLE,
                error,
            );
        })
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
    pub(super) fn is_gone(&self) -> bool {
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

/// What a pipe takes without blocking once it says that it has room (`PIPE_BUF`, pipe(7)).
const NEVER_BLOCKS: usize = 4096;

const READABLE: &str = "give it a file or a pipe that can be read";
const WRITABLE: &str = "what was not written is lost: make room, or lead stdout elsewhere";

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn pipes_carry_everything_both_ways_and_are_not_changed() {
        let (input, mut says) = io::pipe().unwrap();
        let (mut hears, output) = io::pipe().unwrap();
        let (watched, flags) = (output.try_clone().unwrap(), rustix::fs::fcntl_getfl);
        let before = flags(&watched).unwrap();
        let socket = socket(input.into(), output.into());

        says.write_all(b"up").unwrap();
        assert_eq!(socket.read().await.unwrap(), b"up");
        drop(says);
        assert_eq!(socket.read().await.unwrap(), b"", "an end is an end");
        let down: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let sent = down.clone();
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            hears.read_to_end(&mut got).unwrap();
            got
        });
        write_all(&socket, &sent).await;

        assert_eq!(flags(&watched).unwrap(), before);
        drop((socket, watched));
        assert!(reader.join().unwrap() == down);
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_noticed_without_a_write() {
        let (input, _says) = io::pipe().unwrap();
        let (hears, output) = io::pipe().unwrap();
        let socket = socket(input.into(), output.into());
        let looking = timeout(Duration::from_millis(1), socket.read());
        assert!(looking.await.is_err() && !socket.is_gone());

        drop(hears);

        let error = socket.read().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        socket.gone().await;
        assert!(socket.is_gone());
    }

    #[tokio::test]
    async fn a_full_pipe_blocks_nobody_and_its_reader_is_still_watched() {
        let (input, _says) = io::pipe().unwrap();
        let (hears, output) = io::pipe().unwrap();
        let socket = socket(input.into(), output.into());
        while socket.try_write(&[7; 100_000]).is_ok() {}

        let waiting = timeout(Duration::from_millis(1), socket.writable());
        assert!(waiting.await.is_err());
        drop(hears);

        socket.gone().await;
    }

    #[tokio::test]
    async fn one_socket_may_be_both() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let input = OwnedFd::from(ours.try_clone().unwrap());
        let socket = socket(input, ours.into());

        theirs.write_all(b"up").unwrap();
        assert_eq!(socket.read().await.unwrap(), b"up");
        write_all(&socket, b"down").await;
        let mut got = [0; 4];
        theirs.read_exact(&mut got).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(socket.read().await.unwrap(), b"");
        assert!(!socket.is_gone(), "half-closed is not gone");
        drop(theirs);

        assert_eq!(&got, b"down");
        socket.gone().await;
    }

    #[tokio::test]
    async fn files_are_always_ready() {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(b"text").unwrap();
        io::Seek::rewind(&mut input).unwrap();
        let output = tempfile::tempfile().unwrap();
        let mut written = output.try_clone().unwrap();
        let socket = socket(input.into(), output.into());

        assert_eq!(socket.read().await.unwrap(), b"text");
        assert_eq!(socket.read().await.unwrap(), b"");
        write_all(&socket, &[7; 100_000]).await;

        io::Seek::rewind(&mut written).unwrap();
        let mut got = Vec::new();
        written.read_to_end(&mut got).unwrap();
        assert_eq!(got, [7; 100_000]);
        assert!(!socket.is_gone());
    }

    #[tokio::test]
    async fn a_full_device_is_a_fault_and_a_reader_that_left_is_none() {
        let (input, _says) = io::pipe().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let socket = socket(input.into(), full.into());
        let faults = socket.faults();

        assert!(socket.try_write(b"lost").is_err());
        assert!(socket.read().await.is_err(), "nothing more is taken");
        drop(socket);
        let fault = faults.borrow().clone().unwrap();
        assert!(fault.what.starts_with("stdout cannot be written: "));

        let (input, _says) = io::pipe().unwrap();
        let (hears, output) = io::pipe().unwrap();
        let socket = self::socket(input.into(), output.into());
        let faults = socket.faults();
        drop(hears);
        assert!(socket.try_write(b"unheard").is_err());
        assert!(socket.read().await.is_err());
        assert!(faults.borrow().is_none());
    }

    fn socket(input: OwnedFd, output: OwnedFd) -> StandardSocket {
        StandardSocket::new(Standard { input, output }).unwrap()
    }

    async fn write_all(socket: &StandardSocket, mut data: &[u8]) {
        while !data.is_empty() {
            match socket.try_write(data) {
                Ok(written) => data = &data[written..],
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    socket.writable().await.unwrap();
                }
            }
        }
    }
}
