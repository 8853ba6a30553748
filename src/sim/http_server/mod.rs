//! HTTP server for the API, the data channels, and the simulator's own pages, on one address.
//!
//! ```text
//!   POST /                           the APIs of SSM, ECS and EC2 Instance Connect
//!   GET  /v1/data-channel/<id>       upgrade to a data channel
//!   GET  /simulator/                 manual of the pages below, as text
//!   GET  /simulator/ledger           records so far, as JSON
//!   GET  /simulator/faults           current faults, as JSON
//!   POST /simulator/faults           changes the faults, or injects one-off faults
//!   GET  /simulator/ecs              services of ECS, as JSON
//!   POST /simulator/ecs              changes a service
//! ```
//!
//! A rejected upgrade is an HTTP response with a short text: 403 for a required signature that is
//! missing or wrong, 404 for an unknown session, 410 for an ended one
//! (docs/protocol.md, appendix B).

mod ecs_page;
mod guard;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;

use crate::clock;
use crate::wire::payload::{self, OpenDataChannel};

use super::action::signing_name;
use super::api;
use super::client_websocket::Client;
use super::faults::SecondWebsocket;
use super::listener::Listener;
use super::one_off_fault::OneOffFault;
use super::service::Service;
use super::session_spec::Command;
use super::signature::{self, Expected, Signature};
use super::tls_stream::Socket;

/// Accepts connections until it is dropped.
pub(super) async fn listen(service: Arc<Service>, listener: Listener, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(socket) => {
                connections.spawn(serve_connection(Arc::clone(&service), socket, tls.clone()));
            }
            Err(error) => {
                debug!(%error, "cannot accept; retrying");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(service: Arc<Service>, socket: Socket, tls: Option<TlsAcceptor>) {
    let served = async {
        if let Socket::Plain(tcp) = &socket {
            tcp.set_nodelay(true)?;
        }
        let socket = match (tls, socket) {
            (Some(tls), Socket::Plain(tcp)) => {
                let accepted = tokio::time::timeout(guard::HEAD_TIMEOUT, tls.accept(tcp)).await;
                Socket::Tls(Box::new(accepted.map_err(io::Error::from)??))
            }
            (_, socket) => socket,
        };
        serve(service, TokioIo::new(socket))
            .await
            .map_err(io::Error::other)
    };
    if let Err(error) = served.await {
        debug!(%error, "connection failed");
    }
}

/// Serves HTTP on one connection, until it ends or becomes a websocket.
async fn serve<I>(service: Arc<Service>, io: I) -> hyper::Result<()>
where
    I: Read + Write + Send + Unpin + 'static,
{
    let respond = service_fn(move |request| {
        let service = Arc::clone(&service);
        // An error closes the connection without a response.
        async move { respond(&service, request).await.ok_or(fmt::Error) }
    });
    let mut builder = http1::Builder::new();
    // The SDK would correct its clock by that of the machine.
    #[cfg(test)]
    builder.auto_date_header(!clock::virtual_time::is_active());
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(guard::HEAD_TIMEOUT)
        .serve_connection(io, respond)
        .with_upgrades()
        .await
}

/// Responds to a request; `None` closes the connection without a response.
async fn respond(
    service: &Arc<Service>,
    mut request: Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let session_id = path.strip_prefix("/v1/data-channel/");
    let is_own = path == "/simulator" || path.starts_with("/simulator/");
    if is_own && !guard::is_allowed(request.headers()) {
        let refusal = "the Host or Origin header of the request is not allowed";
        return Some(text(StatusCode::FORBIDDEN, refusal));
    }
    Some(match (request.method(), path.as_str(), session_id) {
        (&Method::POST, "/", _) => return call(service, request).await,
        (&Method::GET, "/simulator" | "/simulator/", _) => manual(),
        (&Method::GET, "/simulator/ledger", _) => page(&service.ledger.snapshot()),
        (&Method::GET, "/simulator/faults", _) => page(&service.faults()),
        (&Method::POST, "/simulator/faults", _) => change_faults(service, request).await,
        (&Method::GET, "/simulator/ecs", _) => service.with_ecs(page),
        (&Method::POST, "/simulator/ecs", _) => ecs_page::change(service, request).await,
        (&Method::GET, _, Some(session_id)) => {
            let upgrade = hyper::upgrade::on(&mut request);
            let upgraded = self::upgrade(service, &request, session_id, upgrade);
            upgraded.unwrap_or_else(|refusal| {
                service.ledger.count_refused_upgrade(refusal.0.as_u16());
                text(refusal.0, refusal.1)
            })
        }
        _ => text(StatusCode::NOT_FOUND, "unknown path; see /simulator/"),
    })
}

async fn call(service: &Arc<Service>, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        let refusal = "the request is too long or incomplete";
        return Some(text(StatusCode::PAYLOAD_TOO_LARGE, refusal));
    };
    let arrived = clock::now();
    let body = body.to_bytes();
    let (method, headers) = (parts.method.as_str(), &parts.headers);
    let name = signing_name(headers);
    let signature = verify(service, name, method, &parts.uri, headers, &body);
    let answer = api::answer(service, headers, &body, &signature, arrived).await?;
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() = answer.status;
    let media_type = HeaderValue::from_bytes(api::MEDIA_TYPE).expect("it is ASCII");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    let id = format!("{:032x}", fastrand::u128(..));
    let id = HeaderValue::from_str(&id).expect("it is ASCII");
    response.headers_mut().insert("x-amzn-requestid", id);
    Some(response)
}

fn verify(
    service: &Service,
    name: &str,
    method: &str,
    uri: &hyper::Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Signature {
    let expected = Expected {
        credentials: &service.options.credentials,
        region: &service.options.region,
        service: name,
        wall: clock::wall(),
    };
    let request = signature::SignedRequest {
        method,
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers,
        body,
    };
    signature::verify(request, expected)
}

/// Accepts or rejects an upgrade.
fn upgrade(
    service: &Arc<Service>,
    request: &Request<Incoming>,
    session_id: &str,
    upgrade: OnUpgrade,
) -> Result<Response<Full<Bytes>>, UpgradeRefusal> {
    let headers = request.headers();
    let signature = verify(service, "ssmmessages", "GET", request.uri(), headers, b"");
    let entry = service.find(session_id);
    if let Some(entry) = &entry {
        entry.record.lock().record_upgrade(&signature.to_string());
    }
    if service.options.require_signature && signature != Signature::Valid {
        return Err(UpgradeRefusal(
            StatusCode::FORBIDDEN,
            "the signature is missing or invalid",
        ));
    }
    let entry = entry.ok_or(UpgradeRefusal(
        StatusCode::NOT_FOUND,
        "the session does not exist",
    ))?;
    if entry.has_ended() {
        return Err(UpgradeRefusal(StatusCode::GONE, "the session has ended"));
    }
    if let Some(status) = service.refuse_upgrade() {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        return Err(UpgradeRefusal(status, "rejected by an injected fault"));
    }
    let is_second = entry.record.lock().is_attached;
    if is_second && service.faults().second_websocket == SecondWebsocket::Refused {
        return Err(UpgradeRefusal(
            StatusCode::CONFLICT,
            "the session already has a websocket",
        ));
    }
    let key = websocket_key(headers).ok_or(UpgradeRefusal(
        StatusCode::BAD_REQUEST,
        "not a websocket upgrade request",
    ))?;
    let accept = derive_accept_key(key.as_bytes());
    service.spawn(open(Arc::clone(service), session_id.to_owned(), upgrade));
    Ok(switching(&accept))
}

/// Status and text of a rejected upgrade.
struct UpgradeRefusal(StatusCode, &'static str);

fn websocket_key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let says = |name, word: &str| {
        let value = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    let fits = says(header::UPGRADE, "websocket")
        && says(header::CONNECTION, "upgrade")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| fits)
}

fn switching(accept: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(accept).expect("base64 is ASCII");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Waits for the token after an upgrade, and passes the websocket to its session.
async fn open(service: Arc<Service>, session_id: String, upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let Some((socket, early)) = socket(upgraded) else {
        return;
    };
    let mut client = Client::new(socket, early, service.options.max_message).await;
    let Some(opening) = client.opening().await else {
        let reason = "the first message must be OpenDataChannel";
        return client.close(None, CloseCode::Policy, reason).await;
    };
    let opening = payload::decode::<OpenDataChannel>(&opening).ok();
    let fitting = opening.and_then(|opening| {
        let (record, commands) = service.redeem(&session_id, &opening.token_value)?;
        Some((opening, record, commands))
    });
    let Some((opening, record, commands)) = fitting else {
        return client.close(None, CloseCode::Policy, "invalid token").await;
    };
    record
        .lock()
        .opening_version
        .clone_from(&opening.client_version);
    // Fails if the session has just ended; the websocket is then closed as well.
    drop(commands.send(Command::Attach(Box::new(client))).await);
}

fn socket(upgraded: Upgraded) -> Option<(Socket, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<Socket>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf.to_vec()))
}

fn manual() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, MANUAL);
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn page<T: Serialize>(content: &T) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(content).expect("the pages of the simulator are serializable");
    let mut response = Response::new(Full::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Body of `POST /simulator/faults`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FaultRequest {
    faults: Map<String, Value>,
    #[serde(alias = "blows")]
    inject: Vec<OneOffFault>,
    session: Option<String>,
}

/// Applies a change of faults. Responds with the number of sessions affected, or with an error.
async fn change_faults(service: &Service, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        return text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request is too long or incomplete",
        );
    };
    let affected = serde_json::from_slice(&body.to_bytes())
        .and_then(|request| apply_request(service, request));
    match affected {
        Ok(sessions) => page(&json!({ "sessions": sessions })),
        Err(error) => invalid(&error.to_string()),
    }
}

fn invalid(error: &str) -> Response<Full<Bytes>> {
    let mut response = page(&json!({ "error": error }));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

fn apply_request(service: &Service, request: FaultRequest) -> serde_json::Result<usize> {
    if !request.faults.is_empty() {
        service.change(|faults| faults.changed(request.faults))?;
    }
    let session = request.session.as_deref();
    let affected = request
        .inject
        .iter()
        .map(|fault| service.apply_fault(session, *fault));
    Ok(affected.max().unwrap_or(0))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

/// Manual of the simulator's own pages.
pub const MANUAL: &str = include_str!("manual.txt");

/// Maximum length of a request body.
const MAX_BODY: usize = 1 << 20;
/// Pause after a failed accept, which means that no file descriptors are available.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

#[cfg(test)]
mod tests;
