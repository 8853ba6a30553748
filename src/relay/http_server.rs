//! `/metrics`, `/status` and `/healthz` of a relay, on a loopback address.
//!
//! Read-only. Each connection serves one request, within a few seconds, and few are open at a time.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::bundles::Bundles;
use super::pages::{metrics, status};

/// Serves requests until the future is dropped.
pub(super) async fn serve(listener: TcpListener, bundles: Arc<Bundles>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept(), if tasks.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(tasks.spawn(serve_client(stream, Arc::clone(&bundles)))),
                Err(error) => {
                    debug!(%error, "cannot accept on the HTTP listener; retrying");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve_client(stream: TcpStream, bundles: Arc<Bundles>) {
    let service = service_fn(|request| {
        let response = answer(&request, &bundles);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .half_close(true)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD);
    let served = timeout(
        LIMIT,
        builder.serve_connection(TokioIo::new(stream), service),
    )
    .await;
    if !matches!(served, Ok(Ok(()))) {
        debug!("disconnected an HTTP client");
    }
}

fn answer(request: &Request<Incoming>, bundles: &Bundles) -> Response<Full<Bytes>> {
    if !names_this_machine(request) {
        return page(
            StatusCode::MISDIRECTED_REQUEST,
            TEXT,
            "unknown host\n".into(),
        );
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "read-only\n".into());
    }
    match request.uri().path() {
        "/healthz" => page(StatusCode::OK, TEXT, "ok\n".into()),
        "/metrics" => page(StatusCode::OK, METRICS, metrics(&bundles.report())),
        "/status" => page(StatusCode::OK, JSON, status(&bundles.report())),
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "/healthz, /metrics or /status\n".into(),
        ),
    }
}

/// A web page that resolves its own name to this machine (DNS rebinding) names its host. An address
/// cannot be pointed elsewhere.
fn names_this_machine(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let authority = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    })
}

fn page(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Maximum number of connections; others wait.
const MAX_CONNECTIONS: usize = 32;

/// Maximum length of a request head in bytes: the minimum that hyper accepts.
const MAX_HEAD: usize = 8192;

/// Maximum duration of a connection.
const LIMIT: Duration = Duration::from_secs(5);

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
