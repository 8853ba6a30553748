//! Both ends of a measured connection: a client, and a destination controlled by the client.
//!
//! ```text
//!   client ─── one byte: the operation, and for `UP` and `DOWN` a length ──▶ destination
//!   ECHO     the byte is returned
//!   UP       this number of bytes follow; one byte is returned after the last one
//!   DOWN     this number of bytes is returned
//!   TEXT     text is returned that zstd shrinks four times, until the client ends
//!   PACED    bytes are returned at the speed of an agent, until the client ends
//! ```
//!
//! The path between the two is measured. A connection is measured after its first echo, so that no
//! session start is included.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ssm_proxyd::sim::agent::FAITHFUL_INTERVAL;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::baseline_relay::accept;

/// A server controlled by its clients.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Destination {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        // Ends when the client ends.
        let serve = |tcp| async move { drop(serve_command(tcp).await) };
        tasks.spawn(accept(listener, serve));
        Self {
            address,
            _tasks: tasks,
        }
    }
}

async fn serve_command(mut tcp: TcpStream) -> io::Result<()> {
    let mut buffer = vec![7; BUFFER];
    loop {
        match tcp.read_u8().await? {
            UP => {
                let len = tcp.read_u64().await?;
                discard(&mut tcp, &mut buffer, len).await?;
                tcp.write_u8(UP).await?;
            }
            DOWN => {
                let len = tcp.read_u64().await?;
                send_bytes(&mut tcp, &buffer, len).await?;
            }
            TEXT => {
                let text = text(TEXT_LEN);
                loop {
                    tcp.write_all(&text).await?;
                }
            }
            PACED => return send_paced(tcp, buffer).await,
            operation => tcp.write_u8(operation).await?,
        }
    }
}

/// A client's side of a connection.
#[derive(Debug)]
pub(crate) struct Probe {
    tcp: TcpStream,
    buffer: Vec<u8>,
}

impl Probe {
    /// Connects, and waits for a first echo.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut probe = Self {
            tcp,
            buffer: vec![7; BUFFER],
        };
        probe.echo().await;
        probe
    }

    /// Round-trip time of one byte.
    pub(crate) async fn echo(&mut self) -> Duration {
        let begin = Instant::now();
        self.tcp.write_u8(ECHO).await.unwrap();
        self.tcp.read_u8().await.unwrap();
        begin.elapsed()
    }

    /// Time to upload this number of bytes.
    pub(crate) async fn up(&mut self, len: u64) -> Duration {
        let begin = Instant::now();
        self.request(UP, len).await;
        send_bytes(&mut self.tcp, &self.buffer, len).await.unwrap();
        self.tcp.read_u8().await.unwrap();
        begin.elapsed()
    }

    /// Time to download this number of bytes.
    pub(crate) async fn down(&mut self, len: u64) -> Duration {
        let begin = Instant::now();
        self.request(DOWN, len).await;
        discard(&mut self.tcp, &mut self.buffer, len).await.unwrap();
        begin.elapsed()
    }

    /// Counts the bytes of an endless download.
    pub(crate) async fn down_counted(&mut self, received: &AtomicU64) {
        self.request(DOWN, u64::MAX).await;
        loop {
            let len = self.tcp.read(&mut self.buffer).await.unwrap();
            assert!(len > 0, "the download ended");
            received.fetch_add(len as u64, Relaxed);
        }
    }

    /// The number of bytes of an endless download that arrive until `end`.
    pub(crate) async fn down_until(&mut self, end: Instant) -> u64 {
        self.request(DOWN, u64::MAX).await;
        self.receive_until(end).await
    }

    /// The same, of text that can be compressed.
    pub(crate) async fn text_until(&mut self, end: Instant) -> u64 {
        self.tcp.write_u8(TEXT).await.unwrap();
        self.receive_until(end).await
    }

    /// The same, from a destination that sends like an agent.
    pub(crate) async fn paced_until(&mut self, end: Instant) -> u64 {
        self.tcp.write_u8(PACED).await.unwrap();
        self.receive_until(end).await
    }

    async fn receive_until(&mut self, end: Instant) -> u64 {
        let mut received = 0;
        loop {
            let read = self.tcp.read(&mut self.buffer);
            match tokio::time::timeout_at(end.into(), read).await {
                Ok(len) => received += len.unwrap() as u64,
                Err(_) => return received,
            }
        }
    }

    async fn request(&mut self, operation: u8, len: u64) {
        let mut request = vec![operation];
        request.extend(len.to_be_bytes());
        self.tcp.write_all(&request).await.unwrap();
    }
}

async fn send_bytes(tcp: &mut TcpStream, buffer: &[u8], mut len: u64) -> io::Result<()> {
    while len > 0 {
        let size = usize::try_from(len).unwrap_or(BUFFER).min(BUFFER);
        tcp.write_all(&buffer[..size]).await?;
        len -= size as u64;
    }
    Ok(())
}

/// Sends what an agent reads at once, at the intervals of an agent, until the client ends. In a thread,
/// because timers of the runtime have a resolution of a millisecond: they would be due together.
async fn send_paced(tcp: TcpStream, buffer: Vec<u8>) -> io::Result<()> {
    let mut tcp = tcp.into_std()?;
    tcp.set_nonblocking(false)?;
    let sending = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut due = Instant::now();
        loop {
            tcp.write_all(&buffer[..AGENT_PAYLOAD])?;
            due += FAITHFUL_INTERVAL;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
    sending.await.map_err(io::Error::other)?
}

async fn discard(tcp: &mut TcpStream, buffer: &mut [u8], mut len: u64) -> io::Result<()> {
    while len > 0 {
        let size = usize::try_from(len).unwrap_or(BUFFER).min(BUFFER);
        match tcp.read(&mut buffer[..size]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            taken => len -= taken as u64,
        }
    }
    Ok(())
}

/// Text like that of a dump: words and numbers at random.
fn text(len: usize) -> Vec<u8> {
    let words = [
        "INSERT",
        "INTO",
        "orders",
        "VALUES",
        "customer",
        "shipped",
        "2026-11-28",
        "pending",
        "NULL",
        "amount",
        "Berlin",
    ];
    let (mut random, mut text) = (fastrand::Rng::with_seed(1), Vec::with_capacity(len));
    while text.len() < len {
        text.extend_from_slice(words[random.usize(..words.len())].as_bytes());
        text.push(b' ');
        if random.u8(..4) == 0 {
            text.extend_from_slice(format!("{},", random.u32(..1_000_000)).as_bytes());
        }
    }
    text
}

const ECHO: u8 = b'e';
const UP: u8 = b'u';
const DOWN: u8 = b'd';
const PACED: u8 = b'p';
const TEXT: u8 = b't';

/// More than any window of a compressor.
const TEXT_LEN: usize = 4 << 20;

/// Bytes that an agent puts into a message.
pub(crate) const AGENT_PAYLOAD: usize = 1024;

/// Bytes per read or write.
const BUFFER: usize = 64 * 1024;
