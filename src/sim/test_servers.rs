//! Test servers as destinations: echo, source, sink, and minimal HTTP.
//!
//! Each listens on a free loopback port, serves every connection in a task that it owns, and stops
//! when it is dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A test server on loopback.
#[derive(Debug)]
pub struct Destination {
    address: SocketAddr,
    state: Arc<SinkState>,
    _tasks: JoinSet<()>,
}

impl Destination {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// Fails if no loopback port is available.
    pub async fn start(kind: ServerKind) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, kind, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            _tasks: tasks,
        })
    }

    /// Returns the listen address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what each finished connection of a [`ServerKind::Sink`] received, in order of their
    /// ends.
    pub fn received(&self) -> Vec<ReceivedData> {
        self.state.lock().clone()
    }

    /// Returns the total bytes received by a [`ServerKind::Sink`], including unfinished
    /// connections.
    pub fn taken(&self) -> u64 {
        self.state.taken.load(Ordering::Relaxed)
    }
}

/// Behaviour of a test server.
#[derive(Clone, Copy, Debug)]
pub enum ServerKind {
    /// Sends back what it receives, until the peer ends.
    Echo,
    /// Sends `len` bytes of [`seeded_bytes`] random data, then closes.
    Source {
        /// Number of bytes.
        len: u64,
        /// Random seed.
        seed: u64,
    },
    /// Reads to the end and responds with one line: length and SHA-256.
    Sink,
    /// Responds to every HTTP/1.1 request with a short text, and keeps the connection open.
    Http,
}

/// Data received by a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedData {
    /// Number of bytes.
    pub len: u64,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
}

/// Returns the bytes of a [`ServerKind::Source`], in chunks.
pub fn seeded_bytes(len: u64, seed: u64) -> impl Iterator<Item = Vec<u8>> + Send {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut left = len;
    std::iter::from_fn(move || {
        let size = left.min(CHUNK);
        left -= size;
        let mut chunk = vec![0; usize::try_from(size).expect("a chunk is small")];
        rng.fill(&mut chunk);
        (size > 0).then_some(chunk)
    })
}

/// Data received by all connections of a sink.
#[derive(Debug, Default)]
struct SinkState {
    taken: AtomicU64,
    received: Mutex<Vec<ReceivedData>>,
}

impl SinkState {
    fn lock(&self) -> MutexGuard<'_, Vec<ReceivedData>> {
        self.received.lock().expect("no holder of this lock panics")
    }
}

async fn accept(listener: TcpListener, kind: ServerKind, state: Arc<SinkState>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let state = Arc::clone(&state);
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            // Errors are ignored: any end of the connection is a normal end.
            drop(serve(connection, kind, &state).await);
        });
    }
}

async fn serve(mut connection: TcpStream, kind: ServerKind, state: &SinkState) -> io::Result<()> {
    connection.set_nodelay(true)?;
    match kind {
        ServerKind::Echo => echo(&mut connection).await,
        ServerKind::Source { len, seed } => {
            for chunk in seeded_bytes(len, seed) {
                connection.write_all(&chunk).await?;
            }
            connection.shutdown().await
        }
        ServerKind::Sink => sink(&mut connection, state).await,
        ServerKind::Http => http(connection).await,
    }
}

async fn echo(connection: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let len = connection.read(&mut buffer).await?;
        if len == 0 {
            return connection.shutdown().await;
        }
        connection.write_all(&buffer[..len]).await?;
    }
}

async fn sink(connection: &mut TcpStream, state: &SinkState) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    let (mut hash, mut total) = (Sha256::new(), 0);
    loop {
        let len = connection.read(&mut buffer).await?;
        if len == 0 {
            break;
        }
        hash.update(&buffer[..len]);
        let len = u64::try_from(len).expect("a buffer is small");
        state.taken.fetch_add(len, Ordering::Relaxed);
        total += len;
    }
    let received = ReceivedData {
        len: total,
        sha256: hex::encode(hash.finalize()),
    };
    let line = format!("{} {}\n", received.len, received.sha256);
    state.lock().push(received);
    connection.write_all(line.as_bytes()).await?;
    connection.shutdown().await
}

async fn http(connection: TcpStream) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    while let Some(length) = read_request(&mut connection).await? {
        let mut body = (&mut connection).take(length);
        tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
        connection.write_all(HTTP_RESPONSE.as_bytes()).await?;
    }
    Ok(())
}

/// Reads a request head; returns the length of the body, or `None` at the end of the connection.
async fn read_request(connection: &mut BufReader<TcpStream>) -> io::Result<Option<u64>> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if (&mut *connection)
            .take(MAX_LINE)
            .read_line(&mut line)
            .await?
            == 0
        {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            return Ok(Some(length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
}

const HTTP_RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Content-Length: 34\r\n\r\nHello from behind the data channel";

/// Pause after a failed accept, which means that no file descriptors are available.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Bytes per write of a source.
const CHUNK: u64 = 65_536;
/// Maximum length of a header line.
const MAX_LINE: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_echo_sends_back_what_it_receives() {
        let echo = Destination::start(ServerKind::Echo).await.unwrap();
        let mut connection = TcpStream::connect(echo.address()).await.unwrap();

        connection.write_all(b"hello").await.unwrap();
        connection.shutdown().await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();

        assert_eq!(answer, b"hello");
    }

    #[tokio::test]
    async fn a_sink_responds_with_the_hash_of_the_data_of_a_source() {
        let kind = ServerKind::Source {
            len: 100_000,
            seed: 7,
        };
        let source = Destination::start(kind).await.unwrap();
        let sink = Destination::start(ServerKind::Sink).await.unwrap();
        let mut from = TcpStream::connect(source.address()).await.unwrap();
        let mut to = TcpStream::connect(sink.address()).await.unwrap();

        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
        let mut line = String::new();
        to.read_to_string(&mut line).await.unwrap();

        let expected: Vec<u8> = seeded_bytes(100_000, 7).flatten().collect();
        let sha256 = hex::encode(Sha256::digest(&expected));
        assert_eq!(line, format!("100000 {sha256}\n"));
        assert_eq!(
            sink.received(),
            [ReceivedData {
                len: 100_000,
                sha256
            }]
        );
    }

    #[test]
    fn the_length_in_the_http_response_is_right() {
        let (head, body) = HTTP_RESPONSE.split_once("\r\n\r\n").unwrap();

        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
    }
}
