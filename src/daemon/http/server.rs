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
use super::rejections::{Rejection, Rejections};
use super::routes::{self, Page, Response, Route, RouteError};
use crate::daemon::clients::{AdmittedClient, ClientKey, Clients};
use crate::daemon::snapshot::{Snapshot, SnapshotSender};
use crate::forward::{AcceptedSocket, Listener};
use crate::network::shortage;
use crate::panics::{self, caught};

/// What is served, and to whom.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// Host names accepted over TCP; a web page cannot reach a Unix socket.
    pub(super) names: AllowedHosts,
    pub(super) rejections: Rejections,
}

/// Where a client is.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// It is connected over TCP, so its requests name a host.
    is_tcp: bool,
    /// It is on this machine, so it may see the identity of the credentials.
    is_local: bool,
}

/// Accepts and serves connections until the receiver of requests is closed.
pub(super) async fn serve(
    listener: Arc<Listener>,
    clients: Clients,
    policy: Arc<Policy>,
    requests: mpsc::Sender<SnapshotSender>,
) {
    let mut tasks = JoinSet::new();
    while let Err(panic) = caught(accept(&listener, &clients, &policy, &requests, &mut tasks)).await
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
    policy: &Arc<Policy>,
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
            policy.rejections.record(Rejection::Busy);
            continue;
        };
        let origin = Origin {
            is_tcp: !matches!(stream, AcceptedSocket::Unix(_)),
            is_local: is_local(peer),
        };
        let (policy, requests) = (Arc::clone(policy), requests.clone());
        tasks.spawn(async move {
            match stream {
                AcceptedSocket::Tcp(tcp) => {
                    serve_client(tcp, client, origin, &policy, requests).await;
                }
                AcceptedSocket::Unix(unix) => {
                    serve_client(unix, client, origin, &policy, requests).await;
                }
                #[cfg(test)]
                AcceptedSocket::Virtual(stream) => {
                    serve_client(stream, client, origin, &policy, requests).await;
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

/// Returns true if a client is on this machine.
fn is_local(peer: ClientKey) -> bool {
    match peer {
        ClientKey::Local => true,
        ClientKey::Address(address) => address.is_loopback(),
    }
}

/// Serves one client until it ends, is replaced, or reaches a limit.
async fn serve_client(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: AdmittedClient,
    origin: Origin,
    policy: &Policy,
    requests: mpsc::Sender<SnapshotSender>,
) {
    let service = service_fn(|request| async {
        let _answering = client.answering();
        answer(request, origin, policy, &requests).await
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
    origin: Origin,
    policy: &Policy,
    requests: &mpsc::Sender<SnapshotSender>,
) -> Result<Response, Infallible> {
    if origin.is_tcp
        && let Err(error) = policy.names.check(&request)
    {
        policy.rejections.record(Rejection::Host);
        return Ok(routes::misdirected(error));
    }
    let page = match routes::route(request.method(), request.uri().path()) {
        Ok(page) => page,
        Err(error) => {
            policy.rejections.record(match error {
                RouteError::Unknown => Rejection::Path,
                RouteError::ReadOnly => Rejection::Method,
            });
            return Ok(routes::render_error(error));
        }
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
        Ok(Some(mut snapshot)) => {
            if !origin.is_local {
                routes::remove_identities(&mut snapshot.report);
            }
            routes::render(page, snapshot)
        }
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

    const UNIX: Origin = Origin {
        is_tcp: false,
        is_local: true,
    };

    #[test]
    fn only_clients_on_this_machine_are_local() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.8.0.1", true),
            ("::1", true),
            ("192.0.2.1", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("2001:db8::1", false),
        ] {
            let peer = ClientKey::Address(address.parse().unwrap());
            assert_eq!(is_local(peer), expected, "{address}");
        }
        assert!(is_local(ClientKey::Local));
    }

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
            serve_client(stream, client, UNIX, &Policy::default(), requests),
        )
        .await;

        assert_eq!(ended, Ok(()));
    }
}
