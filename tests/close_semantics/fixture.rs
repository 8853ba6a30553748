//! A client and a destination connected through the daemon, and the outcome of each side as text.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use ssm_proxyd::sim::{Options, Snapshot};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};

use crate::support::in_process::InProcess;
use crate::support::transfer::abort;

/// The kind of socket between client and daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
}

/// Runs a test with either kind of client, at the same time.
pub(crate) async fn each<F: Future<Output = ()>>(fixture: impl Fn(Kind) -> F) {
    let play = |kind| {
        let fixture = fixture(kind);
        async move {
            let result = tokio::time::timeout(TIMEOUT, fixture).await;
            assert!(result.is_ok(), "{kind:?}: timeout");
        }
    };
    tokio::join!(play(Kind::Tcp), play(Kind::Unix));
}

/// A daemon with one forward to a destination that is part of the test.
pub(crate) struct Fixture {
    pub(crate) in_process: InProcess,
    kind: Kind,
    /// `None`: the listener is closed.
    destination: Option<TcpListener>,
    directory: TempDir,
}

impl Fixture {
    pub(crate) async fn new(kind: Kind, options: Options, keys: &str) -> Self {
        let destination = TcpSocket::new_v4().unwrap();
        // Bytes in kernel buffers are in no limit of ours: the buffers are as small as possible.
        destination.set_recv_buffer_size(SMALL).unwrap();
        destination.set_send_buffer_size(SMALL).unwrap();
        destination
            .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .unwrap();
        let destination = destination.listen(64).unwrap();
        let port = destination.local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f.sock");
        let listen = format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
        let keys = format!("remote = {port}\n{keys}");
        Self {
            in_process: InProcess::listening(options, &listen, &keys).await,
            kind,
            destination: Some(destination),
            directory,
        }
    }

    /// From now on the destination refuses connections.
    pub(crate) fn close_destination(&mut self) {
        self.destination = None;
    }

    /// The simulator and the daemon with their defaults.
    pub(crate) async fn plain(kind: Kind) -> Self {
        Self::new(kind, Options::default(), "").await
    }

    pub(crate) async fn connect(&self) -> Client {
        match self.kind {
            Kind::Tcp => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_recv_buffer_size(SMALL as usize).unwrap();
                // Blocks, so that no later event is taken for the outcome.
                socket.connect(&self.in_process.address().into()).unwrap();
                socket.set_nonblocking(true).unwrap();
                let stream = TcpStream::from_std(socket.into()).unwrap();
                stream.set_nodelay(true).unwrap();
                Client::Tcp(stream)
            }
            Kind::Unix => {
                let path = self.directory.path().join("f.sock");
                Client::Unix(UnixStream::connect(path).await.unwrap())
            }
        }
    }

    /// The destination's side of the next connection.
    pub(crate) async fn accept(&self) -> TcpStream {
        let (stream, _) = self.destination.as_ref().unwrap().accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A client and its destination, connected.
    pub(crate) async fn pair(&self) -> (Client, TcpStream) {
        let client = self.connect().await;
        (client, self.accept().await)
    }

    /// Waits until every session has ended, and asserts that there was no violation.
    pub(crate) async fn end(self) -> Snapshot {
        self.in_process
            .until("every session ends by itself", |l| l.open_sessions() == 0)
            .await;
        self.in_process.end().await
    }
}

/// A client.
pub(crate) enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    pub(crate) fn io(&mut self) -> &mut (dyn Io + Send) {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    pub(crate) fn into_io(self) -> Box<dyn Io + Send> {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            Self::Unix(stream) => Box::new(stream),
        }
    }

    pub(crate) async fn send(&mut self, data: &[u8]) {
        self.io().write_all(data).await.unwrap();
    }

    /// Closes the sending direction.
    pub(crate) async fn half_close(&mut self) {
        self.io().shutdown().await.unwrap();
    }

    /// Closes with a reset, if the socket supports it.
    pub(crate) fn abort(self) {
        if let Self::Tcp(stream) = self {
            abort(stream);
        }
    }

    pub(crate) async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut received = vec![0; len];
        self.io().read_exact(&mut received).await.unwrap();
        received
    }

    pub(crate) async fn read_to_end(&mut self) -> (Vec<u8>, End) {
        read_to_end(self.io()).await
    }

    /// Writes until writing fails, and returns the outcome.
    pub(crate) async fn write_to_end(&mut self) -> io::ErrorKind {
        loop {
            if let Err(error) = self.io().write_all(b"more").await {
                return error.kind();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// The outcome of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// Reads everything; returns the data and the outcome.
pub(crate) async fn read_to_end<R: AsyncRead + Unpin + ?Sized>(reader: &mut R) -> (Vec<u8>, End) {
    let mut received = Vec::new();
    let end = match reader.read_to_end(&mut received).await {
        Ok(_) => End::Fin,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
        Err(error) => panic!("an unexpected error: {error}"),
    };
    (received, end)
}

/// A pattern in which a missing or duplicate byte is always visible.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    ssm_proxyd::sim::seeded_bytes(len as u64, 7)
        .flatten()
        .collect()
}

/// Size of a socket's buffer.
const SMALL: u32 = 64 * 1024;

/// Timeout of a test; each takes a few seconds.
const TIMEOUT: Duration = Duration::from_secs(100);
