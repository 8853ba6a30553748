//! HTTP/1: a response of a gateway (RFC 9110, section 15.6), as text or JSON.
//!
//! 503 with `Retry-After` where trying again helps without any change and the request was not passed
//! on, otherwise 502.

use std::net::{Ipv4Addr, SocketAddr};

use httparse::{EMPTY_HEADER, Header, Request, Status};
use serde_json::json;

use super::Step;
use super::explanation::Explanation;

/// Responds to a request whose header is complete.
pub(super) fn respond(request: &[u8], explanation: &Explanation) -> Step {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = Request::new(&mut headers);
    match parsed.parse(request) {
        Ok(Status::Complete(_)) if is_for_this_machine(parsed.headers) => {
            Step::End(response(&parsed, explanation))
        }
        Ok(Status::Complete(_)) => Step::End(response(&parsed, &explanation.in_general())),
        Ok(Status::Partial) => Step::Read,
        // TLS or HTTP/2, for example.
        Err(_) => Step::Reset,
    }
}

fn response(request: &Request<'_, '_>, explanation: &Explanation) -> Vec<u8> {
    let (content_type, body) = match accepts_json(request.headers) {
        true => ("application/json", json(explanation)),
        false => ("text/plain; charset=utf-8", text(explanation)),
    };
    let (status, retry) = match explanation.is_temporary {
        true => ("503 Service Unavailable", RETRY_AFTER),
        false => ("502 Bad Gateway", ""),
    };
    let length = body.len();
    // Foreign text must not be interpreted as HTML by a browser.
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\n{retry}connection: close\r\n\r\n"
    );
    match request.method {
        Some("HEAD") => head.into_bytes(),
        Some(_) | None => (head + &body).into_bytes(),
    }
}

/// Returns false if the request names another host: a web page could then read the response through
/// DNS rebinding.
fn is_for_this_machine(headers: &[Header<'_>]) -> bool {
    let is_host = |header: &&Header<'_>| header.name.eq_ignore_ascii_case("host");
    headers.iter().filter(is_host).all(|header| {
        let host = str::from_utf8(header.value).unwrap_or_default().trim();
        let is_address = host.parse::<SocketAddr>().is_ok()
            || host.parse::<Ipv4Addr>().is_ok()
            || host.starts_with('[') && host.ends_with(']');
        let name = host.split(':').next().unwrap_or_default();
        is_address || name.eq_ignore_ascii_case("localhost")
    })
}

/// Returns whether the first known type that the client accepts is JSON.
fn accepts_json(headers: &[Header<'_>]) -> bool {
    let accept = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("accept"));
    let values = accept.filter_map(|header| str::from_utf8(header.value).ok());
    let types = values.flat_map(|value| value.split(','));
    let known = types.filter_map(|range| {
        let name = range.split(';').next()?.trim().to_ascii_lowercase();
        match name.as_str() {
            "application/json" | "application/*" => Some(true),
            "*/*" => Some(false),
            name if name.starts_with("application/") && name.ends_with("+json") => Some(true),
            name if name.starts_with("text/") => Some(false),
            _ => None,
        }
    });
    known.into_iter().next().unwrap_or(false)
}

fn json(explanation: &Explanation) -> String {
    let (target, destination) = explanation.route.as_ref().map(|(t, d)| (t, d)).unzip();
    let body = json!({
        "error": explanation.cause(),
        "hint": explanation.hint,
        "class": explanation.class.name(),
        "forward": explanation.forward,
        "target": target,
        "destination": destination,
    });
    format!("{body}\n")
}

fn text(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.cause());
    if !explanation.hint.is_empty() {
        text += &format!("hint: {}\n", explanation.hint);
    }
    text + &format!("({})\n", explanation.detail())
}

/// In seconds: two retries within the delay of a circuit breaker would get the same response.
const RETRY_AFTER: &str = "retry-after: 5\r\n";

const MAX_HEADERS: usize = 128;
