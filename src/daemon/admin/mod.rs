//! Server side of the admin socket, which receives commands for a running daemon.
//!
//! ```text
//!   a client ─▶ SocketFile (0600) ─▶ check its user ─▶ read a line ─▶ PendingRequest ─▶ daemon
//!            ◀─────────────────────────────────────── write a line ◀── Response
//! ```
//!
//! Only root and the user who runs the daemon are accepted: the permissions of the file enforce it,
//! and the peer credentials are checked as well. A client that sends nothing or too much is
//! disconnected, and idle clients are replaced when there are too many (`daemon/clients`).

mod client;
mod protocol;
mod socket;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

pub use self::client::{Client, ClientError};
pub use self::protocol::{ErrorKind, ErrorResponse, Request, Response};
use self::socket::{AdminSocket, AdminStream};
use super::clients::{AdmittedClient as Served, ClientKey, Clients};
use crate::config::Listen;
use crate::forward::ListenError;
use crate::network::shortage;
use crate::panics::{self, caught};
use crate::telemetry::LogHandle;

/// The server task and the requests that it has received.
#[derive(Debug)]
pub(super) struct Admin {
    calls: mpsc::Receiver<PendingRequest>,
    path: PathBuf,
    server: JoinSet<()>,
}

/// A request and the channel for its response.
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub(super) request: Request,
    pub(super) reply: ResponseSender,
}

/// Sender of a response; the receiver may have been dropped.
pub(super) type ResponseSender = oneshot::Sender<Response>;

/// The path at which the socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketLocation {
    pub(super) path: PathBuf,
    /// This is the default path: its directory is created if missing.
    pub(super) is_default: bool,
}

impl Admin {
    /// Binds the socket and starts serving it.
    ///
    /// # Errors
    ///
    /// The error that prevented the bind.
    pub(super) async fn bind(location: &SocketLocation) -> Result<Self, ListenError> {
        let directory = location.path.parent().filter(|_| location.is_default);
        if let Some(Err(error)) = directory.map(make_directory) {
            debug!(%error, "cannot create the directory of the admin socket");
        }
        let socket = AdminSocket::bind(&location.path, MODE).await;
        let socket = socket.map_err(|kind| ListenError {
            address: Listen::Unix(location.path.clone()),
            kind,
        })?;
        let (requests, calls) = mpsc::channel(1);
        let mut server = JoinSet::new();
        server.spawn(serve(socket, requests));
        Ok(Self {
            calls,
            path: location.path.clone(),
            server,
        })
    }

    /// Returns the path of the socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next request. Cancel safe.
    pub(super) async fn next_request(&mut self) -> PendingRequest {
        match self.calls.recv().await {
            Some(call) => call,
            None => std::future::pending().await,
        }
    }

    /// Stops accepting requests, and waits until pending responses are written, for
    /// [`SHUTDOWN_TIMEOUT`] at most.
    pub(super) async fn close(mut self) {
        self.calls.close();
        let done = async { while self.server.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_TIMEOUT, done).await.is_err() {
            debug!("an admin client did not read its response");
        }
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
}

/// Serves clients until the receiver of requests is closed.
async fn serve(socket: AdminSocket, requests: mpsc::Sender<PendingRequest>) {
    let clients = Clients::new("admin", MAX_CLIENTS);
    let mut tasks = JoinSet::new();
    while let Err(panic) = caught(accept(&socket, &clients, &requests, &mut tasks)).await {
        error!(%panic, "the admin server failed; restarting it");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
    drop(socket);
    while tasks.join_next().await.is_some() {}
}

async fn accept(
    socket: &AdminSocket,
    clients: &Clients,
    requests: &mpsc::Sender<PendingRequest>,
    tasks: &mut JoinSet<()>,
) {
    let mut spare = None;
    loop {
        panics::point("admin");
        let stream = tokio::select! {
            accepted = socket.accept(&mut spare) => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    let hint = shortage::hint(&error).unwrap_or_default();
                    debug!(%error, hint, "cannot accept on the admin socket; retrying");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = tasks.join_next() => continue,
            () = requests.closed() => return,
        };
        match stream {
            AdminStream::Unix(stream) if !is_authorized(&stream) => log_unauthorized(&stream),
            AdminStream::Unix(stream) => match clients.admit(ClientKey::Local).await {
                Some(client) => drop(tasks.spawn(serve_client(stream, client, requests.clone()))),
                None => refuse(&stream),
            },
            #[cfg(test)]
            AdminStream::Virtual(stream) => {
                if let Some(client) = clients.admit(ClientKey::Local).await {
                    tasks.spawn(serve_client(stream, client, requests.clone()));
                }
            }
        }
    }
}

/// Responds with `Busy` and closes: every other client waits for a response.
fn refuse(stream: &UnixStream) {
    let busy = error_response(
        ErrorKind::Busy,
        format!("all {MAX_CLIENTS} admin connections are in use"),
        "retry when one of their commands has completed",
    );
    if let Ok(mut answer) = serde_json::to_vec(&busy) {
        answer.push(b'\n');
        // A partial write is not completed.
        let _partial = stream.try_write(&answer);
    }
}

/// Returns true if the client runs as the daemon's user or as root.
fn is_authorized(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| [own, ROOT].contains(&peer.uid()))
}

fn log_unauthorized(stream: &UnixStream) {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    warn!(uid, "rejected an admin connection of another user");
}

/// Serves one client, until it ends or is replaced.
async fn serve_client(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: Served,
    requests: mpsc::Sender<PendingRequest>,
) {
    tokio::select! {
        () = answer_requests(stream, &client, requests) => {}
        () = client.replaced() => debug!("disconnected an idle admin client"),
    }
}

/// Answers one request at a time.
async fn answer_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: &Served,
    requests: mpsc::Sender<PendingRequest>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let line = tokio::select! {
            line = timeout(TIMEOUT, line(&mut stream)) => line,
            () = requests.closed() => return,
        };
        let Ok(Ok(Some(line))) = line else {
            return;
        };
        let answering = client.answering();
        let answer = answer(&line, &requests).await;
        drop(answering);
        let mut answer = match serde_json::to_vec(&answer) {
            Ok(answer) => answer,
            Err(error) => return warn!(%error, "cannot encode an admin response as JSON"),
        };
        answer.push(b'\n');
        match timeout(TIMEOUT, stream.get_mut().write_all(&answer)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Reads a line. Returns `None` if the client ends or exceeds [`MAX_LINE`] before the line ends.
async fn line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    Ok(line.ends_with(b"\n").then_some(line))
}

async fn answer(line: &[u8], requests: &mpsc::Sender<PendingRequest>) -> Response {
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            return error_response(
                ErrorKind::Request,
                format!("invalid request: {error}"),
                "send one line of JSON, for example {\"command\":\"status\"}",
            );
        }
    };
    let (reply, answer) = oneshot::channel();
    let stopping = || error_response(ErrorKind::Busy, "the daemon is stopping", "start it again");
    if requests
        .send(PendingRequest { request, reply })
        .await
        .is_err()
    {
        return stopping();
    }
    answer.await.unwrap_or_else(|_| stopping())
}

/// Returns the current log filter; empty if the daemon does not control the log.
pub(super) fn filter(log: Option<&LogHandle>) -> String {
    log.map(LogHandle::filter).unwrap_or_default()
}

/// Changes the log filter if `level` is given, and responds with the current one.
pub(super) fn set_log(log: Option<&LogHandle>, level: Option<String>) -> Response {
    let changed = match (log, &level) {
        (Some(log), Some(level)) => log.set_filter(level),
        (None, _) | (_, None) => Ok(()),
    };
    if let Err(error) = changed {
        let hint = "expected a level (error, warn, info, debug, trace) or a filter, for example ssm_proxyd=debug";
        return error_response(ErrorKind::Request, error.to_string(), hint);
    }
    let filter = filter(log);
    if level.is_some() {
        info!(filter, "log filter changed over the admin socket");
    }
    Response::Log { filter }
}

/// Creates an error response.
pub(super) fn error_response(kind: ErrorKind, message: impl Into<String>, hint: &str) -> Response {
    Response::Error(ErrorResponse {
        kind,
        message: message.into(),
        hint: hint.to_owned(),
        rendered: None,
    })
}

/// Permissions of the socket: only the user who runs the daemon, and root.
const MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const ROOT: u32 = 0;

/// Maximum number of clients. Beyond it, idle clients are replaced by new ones.
pub(super) const MAX_CLIENTS: usize = 64;

/// Maximum length of a request in bytes.
const MAX_LINE: u64 = 4096;

/// Timeout for receiving a request, and for writing its response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout for writing the last responses at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
