//! Accepts HTTP connections, and reads and answers their requests.
//!
//! A slow or idle client does not block others: each connection has its own task and deadlines, and
//! idle ones are replaced when there are too many (`clients.rs`).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error};

use super::host::AllowedHosts;
use super::prometheus::{Format, ProcessStats};
use super::routes::{self, Page, Response, Route};
use crate::daemon::clients::{AdmittedClient, ClientKey, Clients};
use crate::daemon::snapshot::{Snapshot, SnapshotSender};
use crate::forward::{AcceptedSocket, Listener};
use crate::network::shortage;
use crate::panics::{self, caught};

/// Accepts and serves connections until the receiver of requests is closed. `names` are the host
/// names accepted over TCP; a web page cannot reach a Unix socket.
pub(super) async fn serve(
    listener: Arc<Listener>,
    clients: Clients,
    names: Arc<AllowedHosts>,
    requests: mpsc::Sender<SnapshotSender>,
) {
    let mut tasks = JoinSet::new();
    while let Err(panic) = caught(accept(&listener, &clients, &names, &requests, &mut tasks)).await
    {
        error!(%panic, "an HTTP listener failed; restarting it");
        sleep(ACCEPT_PAUSE).await;
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

async fn accept(
    listener: &Listener,
    clients: &Clients,
    names: &Arc<AllowedHosts>,
    requests: &mpsc::Sender<SnapshotSender>,
    tasks: &mut JoinSet<()>,
) {
    loop {
        panics::point("http");
        let stream = tokio::select! {
            biased;
            // First: the successor of this server accepts from the same listener.
            () = requests.closed() => return,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept_stream() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    let hint = shortage::hint(&error).unwrap_or_default();
                    debug!(%error, hint, "cannot accept on an HTTP listener; retrying");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Some(peer) = peer_of(&stream) else {
            continue;
        };
        let Some(client) = clients.admit(peer).await else {
            debug!("rejected an HTTP connection: all connections are handling requests");
            continue;
        };
        let (names, requests) = (Arc::clone(names), requests.clone());
        tasks.spawn(async move {
            match stream {
                AcceptedSocket::Tcp(tcp) => serve_client(tcp, client, Some(&names), requests).await,
                AcceptedSocket::Unix(unix) => serve_client(unix, client, None, requests).await,
                #[cfg(test)]
                AcceptedSocket::Virtual(stream) => {
                    serve_client(stream, client, Some(&names), requests).await;
                }
            }
        });
    }
}

/// Returns the peer of a connection; `None` if it has already closed.
fn peer_of(stream: &AcceptedSocket) -> Option<ClientKey> {
    match stream {
        AcceptedSocket::Tcp(tcp) => {
            let address = tcp.peer_addr().ok()?;
            Some(ClientKey::Address(address.ip().to_canonical()))
        }
        AcceptedSocket::Unix(_) => Some(ClientKey::Local),
        #[cfg(test)]
        AcceptedSocket::Virtual(_) => Some(ClientKey::Local),
    }
}

/// Serves one client until it ends, is replaced, or reaches a limit.
async fn serve_client(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: AdmittedClient,
    names: Option<&AllowedHosts>,
    requests: mpsc::Sender<SnapshotSender>,
) {
    let service = service_fn(|request| async {
        let _answering = client.answering();
        answer(request, names, &requests).await
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `nc -N` closes its sending side before it reads the response.
        .half_close(true)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        () = requests.closed() => {}
        () = sleep(MAX_CONNECTION_AGE) => {}
        () = client.replaced() => return debug!("disconnected an idle HTTP client"),
    }
    // Finish the response to the current request; accept no more.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = timeout(TIMEOUT, connection) => match ended {
            Ok(ended) => log_end(ended),
            Err(_) => debug!("disconnected an HTTP client: it did not read its response in time"),
        },
        () = client.replaced() => {}
    }
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "disconnected an HTTP client");
    }
}

async fn answer(
    request: Request<Incoming>,
    names: Option<&AllowedHosts>,
    requests: &mpsc::Sender<SnapshotSender>,
) -> Result<Response, Infallible> {
    if let Some(Err(error)) = names.map(|names| names.check(&request)) {
        debug!(?error, "rejected an HTTP request because of its host");
        return Ok(routes::misdirected(error));
    }
    let page = match routes::route(request.method(), request.uri().path()) {
        Ok(page) => page,
        Err(refusal) => return Ok(routes::render_error(refusal)),
    };
    let page = match page {
        Route::Startup => return Ok(routes::startup()),
        Route::Readiness => Page::Readiness,
        Route::ForwardReadiness(name) => Page::ForwardReadiness(name),
        Route::Liveness => Page::Liveness,
        Route::Status => Page::Status,
        Route::Metrics => Page::Metrics(accepted(&request), ProcessStats::read().await),
    };
    Ok(match timeout(RESPONSE_TIMEOUT, snapshot(requests)).await {
        Ok(Some(snapshot)) => routes::render(page, snapshot),
        Ok(None) => routes::stopped(),
        Err(_) => routes::busy(),
    })
}

/// Returns the format of the metrics that a request asks for.
fn accepted(request: &Request<Incoming>) -> Format {
    let values = request.headers().get_all(ACCEPT).into_iter();
    Format::accepted(values.filter_map(|value| value.to_str().ok()))
}

/// Requests the state of the daemon. Returns `None` if the daemon no longer responds.
async fn snapshot(requests: &mpsc::Sender<SnapshotSender>) -> Option<Snapshot> {
    let (reply, answer) = oneshot::channel();
    requests.send(reply).await.ok()?;
    answer.await.ok()
}

/// Maximum number of connections over all addresses. Beyond it, idle ones are replaced by new ones.
pub(in crate::daemon) const MAX_CONNECTIONS: usize = 128;

/// Maximum length of a request head in bytes: the minimum that hyper accepts.
const MAX_HEAD: usize = 8192;
const MAX_HEADERS: usize = 64;

/// Timeout for receiving a request head, including the idle time before it. It differs from common
/// scrape and probe intervals (5 s, 10 s): a connection that closes just when the next request is
/// sent costs the client a second connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);

/// Timeout for writing the last response.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Maximum lifetime of a connection, which also bounds clients that do not read their response.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60);

/// Timeout for the daemon's response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout for the last responses when the server closes.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_sends_no_request_is_disconnected_long_before_the_maximum_age() {
        let client = Clients::new("test", 1)
            .admit(ClientKey::Local)
            .await
            .unwrap();
        let (_silent, stream) = tokio::io::duplex(1024);
        let (requests, _calls) = mpsc::channel(1);

        let ended = timeout(
            MAX_CONNECTION_AGE / 2,
            serve_client(stream, client, None, requests),
        )
        .await;

        assert_eq!(ended, Ok(()));
    }
}
