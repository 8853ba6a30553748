//! The connections: accepted, read, answered and left.

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
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error};

use super::pages::{self, Page, Response};
use crate::daemon::admin::{Answer, Call, Request as Question};
use crate::forward::{Listener, Stream};
use crate::panics::{self, caught};
use crate::telemetry::Report;

/// Runs until nobody answers any more.
pub(super) async fn serve(
    listener: Arc<Listener>,
    places: Arc<Semaphore>,
    requests: mpsc::Sender<Call>,
) {
    let mut clients = JoinSet::new();
    while let Err(panic) = caught(accept(&listener, &places, &requests, &mut clients)).await {
        error!(%panic, "an HTTP listener failed; starting anew");
        sleep(ACCEPT_PAUSE).await;
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

async fn accept(
    listener: &Listener,
    places: &Arc<Semaphore>,
    requests: &mpsc::Sender<Call>,
    clients: &mut JoinSet<()>,
) {
    loop {
        panics::point("http");
        let accepted = async {
            let place = Arc::clone(places).acquire_owned().await;
            (listener.accept_stream().await, place)
        };
        tokio::select! {
            (accepted, place) = accepted => match accepted {
                Ok(stream) => {
                    let requests = requests.clone();
                    clients.spawn(async move {
                        match stream {
                            Stream::Tcp(tcp) => attend(tcp, requests).await,
                            Stream::Unix(unix) => attend(unix, requests).await,
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    debug!(%error, "an HTTP listener cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
            () = requests.closed() => return,
        }
    }
}

/// Speaks HTTP with one client, for as long as it asks in time.
async fn attend(stream: impl AsyncRead + AsyncWrite + Unpin, requests: mpsc::Sender<Call>) {
    let service = service_fn(|request| answer(request, &requests));
    let mut speech = http1::Builder::new();
    speech
        .timer(TokioTimer::new())
        // `nc -N` says no more and listens.
        .half_close(true)
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    let mut connection = pin!(speech.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return told(ended),
        () = requests.closed() => {}
        () = sleep(LIFE) => {}
    }
    // What was asked is answered, and nothing more.
    connection.as_mut().graceful_shutdown();
    match timeout(PATIENCE, connection).await {
        Ok(ended) => told(ended),
        Err(_) => debug!("an HTTP client was too slow"),
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "an HTTP client was left");
    }
}

async fn answer(
    request: Request<Incoming>,
    requests: &mpsc::Sender<Call>,
) -> Result<Response, Infallible> {
    let page = match pages::asked(request.method(), request.uri().path()) {
        Ok(page) => page,
        Err(refusal) => return Ok(pages::refused(refusal)),
    };
    Ok(match page {
        Page::Startup => pages::startup(),
        Page::Readiness | Page::Liveness | Page::Metrics | Page::Status => {
            match timeout(MAX_THOUGHT, report(requests)).await {
                Ok(Some(report)) => pages::told(page, &report),
                Ok(None) => pages::over(),
                Err(_) => pages::silent(),
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

/// Connections at once, over all addresses; the rest wait.
pub(in crate::daemon) const MAX_CONNECTIONS: usize = 64;

/// Bytes of a request and its headers: the least that hyper takes.
const MAX_HEAD: usize = 8192;
const MAX_HEADERS: usize = 64;

/// How long a client may take for a request, and may be idle. Not what programs like to wait between
/// two questions: a connection that ends just then costs them a second one.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a connection may be kept, so that one that does not take its answer is not for ever.
const LIFE: Duration = Duration::from_secs(60);

/// How long the daemon may take for an answer; a reload is thought of in between.
const MAX_THOUGHT: Duration = Duration::from_secs(5);

/// How long clients may take at the end.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(1);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
