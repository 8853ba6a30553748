//! The connections: accepted, read, answered and left.
//!
//! A client that is slow or says nothing holds up no other: it has its own task and a deadline, and
//! where there are too many connections it is the one that gives way (`clients.rs`).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error};

use super::host::Names;
use super::routes::{self, Page, Response};
use crate::daemon::admin::{Answer, Call, Request as Question};
use crate::daemon::clients::{Client, Clients, Peer};
use crate::forward::{Listener, Stream};
use crate::network::shortage;
use crate::panics::{self, caught};
use crate::telemetry::Report;

/// Accepts and serves connections until nobody answers any more. `names` are those that a client of
/// the network may ask for; a web page cannot reach a Unix socket.
pub(super) async fn serve(
    listener: Arc<Listener>,
    clients: Clients,
    names: Arc<Names>,
    requests: mpsc::Sender<Call>,
) {
    let mut tasks = JoinSet::new();
    while let Err(panic) = caught(accept(&listener, &clients, &names, &requests, &mut tasks)).await
    {
        error!(%panic, "an HTTP listener failed; starting anew");
        sleep(ACCEPT_PAUSE).await;
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

async fn accept(
    listener: &Listener,
    clients: &Clients,
    names: &Arc<Names>,
    requests: &mpsc::Sender<Call>,
    tasks: &mut JoinSet<()>,
) {
    loop {
        panics::point("http");
        let stream = tokio::select! {
            accepted = listener.accept_stream() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    let hint = shortage::hint(&error).unwrap_or_default();
                    debug!(%error, hint, "an HTTP listener cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = tasks.join_next() => continue,
            () = requests.closed() => return,
        };
        let Some(peer) = peer_of(&stream) else {
            continue;
        };
        let Some(client) = clients.admit(peer).await else {
            debug!("an HTTP connection is refused: all others are being answered");
            continue;
        };
        let (names, requests) = (Arc::clone(names), requests.clone());
        tasks.spawn(async move {
            match stream {
                Stream::Tcp(tcp) => attend(tcp, client, Some(&names), requests).await,
                Stream::Unix(unix) => attend(unix, client, None, requests).await,
            }
        });
    }
}

/// Whose connection it is; `None` if it has ended already.
fn peer_of(stream: &Stream) -> Option<Peer> {
    match stream {
        Stream::Tcp(tcp) => {
            let address = tcp.peer_addr().ok()?;
            Some(Peer::Address(address.ip().to_canonical()))
        }
        Stream::Unix(_) => Some(Peer::Local),
    }
}

/// Serves one client, for as long as it asks in time and need not give way to another.
async fn attend(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: Client,
    names: Option<&Names>,
    requests: mpsc::Sender<Call>,
) {
    let service = service_fn(|request| async {
        let _answering = client.answering();
        answer(request, names, &requests).await
    });
    let mut speech = http1::Builder::new();
    speech
        .timer(TokioTimer::new())
        // `nc -N` says no more and listens.
        .half_close(true)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    let mut connection = pin!(speech.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return told(ended),
        () = requests.closed() => {}
        () = sleep(LIFE) => {}
        () = client.replaced() => return debug!("an idle HTTP connection was closed"),
    }
    // What was asked is answered, and nothing more.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = timeout(PATIENCE, connection) => match ended {
            Ok(ended) => told(ended),
            Err(_) => debug!("an HTTP client was too slow"),
        },
        () = client.replaced() => {}
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "an HTTP client was left");
    }
}

async fn answer(
    request: Request<Incoming>,
    names: Option<&Names>,
    requests: &mpsc::Sender<Call>,
) -> Result<Response, Infallible> {
    if let Some(Err(fault)) = names.map(|names| names.check(&request)) {
        debug!(?fault, "an HTTP request is refused because of its host");
        return Ok(routes::misdirected(fault));
    }
    let page = match routes::asked(request.method(), request.uri().path()) {
        Ok(page) => page,
        Err(refusal) => return Ok(routes::refused(refusal)),
    };
    Ok(match page {
        Page::Startup => routes::startup(),
        Page::Readiness | Page::Liveness | Page::Metrics | Page::Status => {
            match timeout(RESPONSE_TIMEOUT, report(requests)).await {
                Ok(Some(report)) => routes::told(page, &report),
                Ok(None) => routes::over(),
                Err(_) => routes::silent(),
            }
        }
    })
}

/// What the daemon says of itself; nothing, if it answers nobody any more.
async fn report(requests: &mpsc::Sender<Call>) -> Option<Report> {
    let (reply, answer) = oneshot::channel();
    let request = Question::Status;
    requests.send(Call { request, reply }).await.ok()?;
    match answer.await.ok()? {
        Answer::Status(report) => Some(*report),
        Answer::Reloaded(_) | Answer::Stopped { .. } | Answer::Log { .. } | Answer::Error(_) => {
            None
        }
    }
}

/// Connections at once, over all addresses. Beyond that, idle ones are closed for new ones.
pub(in crate::daemon) const MAX_CONNECTIONS: usize = 128;

/// Bytes of a request and its headers: the least that hyper takes.
const MAX_HEAD: usize = 8192;
const MAX_HEADERS: usize = 64;

/// How long a client may take for the head of a request, and may be idle before it. Not what programs
/// like to wait between two requests (5 s, 10 s): a connection that ends just then costs them a second one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a client may take for its last answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a connection may be kept, so that one that does not take its answer is not for ever.
const LIFE: Duration = Duration::from_secs(60);

/// How long the daemon may take for an answer; a reload is thought of in between.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long clients may take at the end.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(1);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
