//! Client side of the admin socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::protocol::{Request, Response};

/// A connection to the admin socket of a running daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    /// The process of the daemon, if it can be seen from here.
    pid: Option<i32>,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// If no daemon listens there, or the socket belongs to another user.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let fail = |source| ClientError {
            path: path.to_owned(),
            pid: None,
            source,
        };
        let connected = timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(fail)?;
        let peer = stream.peer_cred().map_err(fail)?;
        if !is_trusted(peer.uid()) {
            return Err(fail(io::ErrorKind::PermissionDenied.into()));
        }
        Ok(Self {
            path: path.to_owned(),
            pid: peer.pid().filter(|pid| *pid > 0),
            stream: BufReader::new(stream),
        })
    }

    /// Returns the process id of the daemon, if it can be seen from here.
    pub fn pid(&self) -> Option<u32> {
        u32::try_from(self.pid?).ok()
    }

    /// Sends a request and waits for the response: for ten seconds, or for a reload or a stop as
    /// long as the daemon answers other clients.
    ///
    /// # Errors
    ///
    /// If the daemon ends, does not respond, or sends an invalid response.
    pub async fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        let path = self.path.clone();
        let asked = match request {
            Request::Status
            | Request::Forward { .. }
            | Request::Close { .. }
            | Request::Log { .. } => self.exchange_within(RESPONSE_TIMEOUT, request).await,
            Request::Reload | Request::Stop { .. } => tokio::select! {
                response = self.exchange(request) => response,
                () = unresponsive(&path, RESPONSE_TIMEOUT) => Err(io::ErrorKind::TimedOut.into()),
            },
        };
        asked.map_err(|source| ClientError {
            path: self.path.clone(),
            pid: self.pid,
            source,
        })
    }

    async fn exchange_within(
        &mut self,
        limit: Duration,
        request: &Request,
    ) -> io::Result<Response> {
        let response = timeout(limit, self.exchange(request)).await;
        response.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Response> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.stream.write_all(line.as_bytes()).await?;
        let mut response = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_RESPONSE);
        match limited.read_until(b'\n', &mut response).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read if read as u64 == MAX_RESPONSE && !response.ends_with(b"\n") => {
                let why = format!("its response is longer than {MAX_RESPONSE} bytes");
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
            _ => Ok(serde_json::from_slice(&response)?),
        }
    }
}

/// Returns when the daemon is unresponsive: it has accepted another client and not answered it
/// within `limit`, or it has accepted none for about a minute. A stop may take hours by
/// configuration, so its duration alone is no evidence of a hang.
async fn unresponsive(path: &Path, limit: Duration) {
    sleep(limit / 10).await;
    let mut failures = 0;
    while failures < MAX_FAILURES {
        match Client::connect(path).await {
            Ok(mut client) => match client.exchange_within(limit, &Request::Status).await {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return,
                Ok(_) => failures = 0,
                Err(_) => failures += 1,
            },
            // A stopping daemon closes its socket some seconds before it ends.
            Err(_) => failures += 1,
        }
        sleep(limit).await;
    }
}

/// Returns true if the daemon runs as this user. In a directory such as /tmp another user could
/// listen at the expected path and give any response; a daemon of another user would not accept our
/// requests either. Root may connect to any daemon.
fn is_trusted(daemon: u32) -> bool {
    let own = rustix::process::geteuid();
    own.is_root() || daemon == own.as_raw()
}

/// Error of a request to a daemon.
#[derive(Debug, thiserror::Error)]
#[error("{}", describe(path, *pid, source))]
pub struct ClientError {
    /// Path of the socket.
    pub path: PathBuf,
    /// Process id of the daemon, if known.
    pub pid: Option<i32>,
    /// The cause.
    pub source: io::Error,
}

impl ClientError {
    /// Returns true if no daemon was listening.
    pub fn is_absence(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    }

    /// Returns what to do about a daemon that does not respond. Empty for other errors.
    pub fn hint(&self) -> String {
        match (self.source.kind(), self.pid) {
            (io::ErrorKind::TimedOut, Some(pid)) => format!(
                "if process {pid} is suspended, `kill -CONT {pid}` resumes it; if it has no free file descriptors, its log says so; `kill -KILL {pid}` kills it, and the next start terminates its sessions"
            ),
            _ => String::new(),
        }
    }
}

fn describe(path: &Path, pid: Option<i32>, source: &io::Error) -> String {
    let path = path.display();
    let known = KNOWN.iter().find(|(kind, ..)| *kind == source.kind());
    let process = match (pid, source.kind()) {
        (Some(pid), io::ErrorKind::TimedOut) => format!(" (process {pid})"),
        _ => String::new(),
    };
    match known {
        Some((_, before, behind)) => format!("{before} {path}{process}{behind}"),
        None => format!("cannot send the request to the daemon at {path}: {source}"),
    }
}

/// Error texts by kind: the text before the path, and the text after it.
const KNOWN: &[(io::ErrorKind, &str, &str)] = &[
    (io::ErrorKind::NotFound, NO_DAEMON, ""),
    (io::ErrorKind::ConnectionRefused, NO_DAEMON, ""),
    (
        io::ErrorKind::PermissionDenied,
        DAEMON,
        " belongs to another user",
    ),
    (io::ErrorKind::UnexpectedEof, DAEMON, DISCONNECTED),
    (io::ErrorKind::ConnectionReset, DAEMON, DISCONNECTED),
    (io::ErrorKind::BrokenPipe, DAEMON, DISCONNECTED),
    (io::ErrorKind::TimedOut, DAEMON, " does not respond"),
];
const NO_DAEMON: &str = "no daemon is listening at";
const DAEMON: &str = "the daemon at";
const DISCONNECTED: &str = " exited before it responded, or rejects this user";

/// Timeout for a response. A healthy daemon responds within a millisecond, but a reload may be in
/// progress.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of failed probes during a reload or a stop, [`RESPONSE_TIMEOUT`] apart, after which a
/// daemon that closed its socket counts as unresponsive.
const MAX_FAILURES: u32 = 6;

/// Maximum length of a response in bytes, enough for the status of thousands of forwards.
const MAX_RESPONSE: u64 = 16 * 1024 * 1024;

/// Timeout for connecting to a local socket.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn waiting_ends_when_the_daemon_answers_no_client() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let soon = Duration::from_millis(1);

        // First the listener does not accept, then it is closed.
        unresponsive(&path, soon).await;
        drop(listener);
        unresponsive(&path, soon).await;
    }

    #[tokio::test]
    async fn a_response_without_an_end_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let flood = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            while client.write_all(&[b'x'; 65536]).is_ok() {}
        });

        let mut client = Client::connect(&path).await.unwrap();
        let asked = client.ask(&Request::Reload).await;
        drop(client);

        assert_eq!(asked.unwrap_err().source.kind(), io::ErrorKind::InvalidData);
        flood.join().unwrap();
    }
}
