//! The other end of the admin socket: one who asks a running daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::exchange::{Answer, Request};

/// A connection to a running daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// If no daemon listens there, or not to this user.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let fail = |source| ClientError {
            path: path.to_owned(),
            source,
        };
        let connected = timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(fail)?;
        let peer = stream.peer_cred().map_err(fail)?;
        if !is_believed(peer.uid()) {
            return Err(fail(io::ErrorKind::PermissionDenied.into()));
        }
        Ok(Self {
            path: path.to_owned(),
            stream: BufReader::new(stream),
        })
    }

    /// Asks, and waits for the answer: for a reload or a stop as long as that takes.
    ///
    /// # Errors
    ///
    /// If the daemon ends, hangs, or says what is no answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let exchange = self.exchange(request);
        let asked = match request {
            Request::Status | Request::Log { .. } => timeout(ANSWER_TIMEOUT, exchange)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            Request::Reload | Request::Stop { .. } => exchange.await,
        };
        asked.map_err(|source| ClientError {
            path: self.path.clone(),
            source,
        })
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.stream.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

/// Whether a daemon of this user may be asked. In a directory such as /tmp another user can listen at
/// the expected path and give any answer; no daemon of another user would listen to us either. Root
/// asks everyone's.
fn is_believed(daemon: u32) -> bool {
    let own = rustix::process::geteuid();
    own.is_root() || daemon == own.as_raw()
}

/// A daemon that cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(path, source))]
pub struct ClientError {
    /// Its socket.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

impl ClientError {
    /// Whether there was nobody.
    pub fn is_absence(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    }
}

fn told(path: &Path, source: &io::Error) -> String {
    let path = path.display();
    let known = KNOWN.iter().find(|(kind, ..)| *kind == source.kind());
    match known {
        Some((_, before, behind)) => format!("{before} {path}{behind}"),
        None => format!("the daemon at {path} cannot be asked: {source}"),
    }
}

/// What it means that something went wrong: what stands before the path, and behind.
const KNOWN: &[(io::ErrorKind, &str, &str)] = &[
    (io::ErrorKind::NotFound, NOBODY, ""),
    (io::ErrorKind::ConnectionRefused, NOBODY, ""),
    (
        io::ErrorKind::PermissionDenied,
        DAEMON,
        " belongs to another user",
    ),
    (io::ErrorKind::UnexpectedEof, DAEMON, GONE),
    (io::ErrorKind::ConnectionReset, DAEMON, GONE),
    (io::ErrorKind::BrokenPipe, DAEMON, GONE),
    (io::ErrorKind::TimedOut, DAEMON, " does not answer"),
];
const NOBODY: &str = "no daemon answers at";
const DAEMON: &str = "the daemon at";
const GONE: &str = " ended before it answered, or does not listen to this user";

/// What takes a daemon that is well less than a millisecond. A reload may be under way.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// It is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
