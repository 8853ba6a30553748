//! HTTP CONNECT (RFC 9110, section 9.3.6).

use httparse::{EMPTY_HEADER, Error, Request};

use super::destination::of_name;
use super::{Parsed, Protocol, ProxyRequest, Rejection, Status};
use crate::config::Remote;

/// Decodes a request with its head.
pub(super) fn request(bytes: &[u8]) -> Parsed {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    let head = &bytes[..bytes.len().min(MAX_HEAD)];
    let length = match request.parse(head) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => {
            let why = format!("a head of more than {MAX_HEAD} bytes");
            return Err(reject(Status::TooLarge, &why));
        }
        Err(Error::TooManyHeaders) => {
            let why = format!("more than {MAX_HEADERS} header fields");
            return Err(reject(Status::TooLarge, &why));
        }
        Err(error) => {
            let why = format!("not a valid request of HTTP/1: {error}");
            return Err(reject(Status::BadRequest, &why));
        }
    };
    if request.method != Some("CONNECT") {
        let why = "only CONNECT is supported: use this proxy for https:// addresses, or as \
                   socks5h:// for others";
        let protocol = match request.method {
            Some("HEAD") => Protocol::HttpHead,
            Some(_) | None => Protocol::Http,
        };
        return Err(Rejection::new(protocol, Status::MethodNotAllowed, why));
    }
    let request = ProxyRequest {
        protocol: Protocol::Http,
        destination: destination(request.path.unwrap_or_default())?,
    };
    Ok(Some((request, length)))
}

/// Returns the destination of a request target in authority form.
fn destination(authority: &str) -> Result<Remote, Rejection> {
    let pair = authority.rsplit_once(':').and_then(|(host, port)| {
        let is_number = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
        Some((host, is_number.then(|| port.parse().ok()).flatten()?))
    });
    let Some((host, port)) = pair else {
        let why = "the destination is not HOST:PORT";
        return Err(reject(Status::BadRequest, why));
    };
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    // Brackets are for IPv6 addresses, and only for these.
    let host = match inner {
        Some(inner) if inner.contains(':') => inner,
        None if !host.contains(':') => host,
        Some(_) | None => {
            let why = "an IPv6 address must be in brackets: [2001:db8::1]:443";
            return Err(reject(Status::BadRequest, why));
        }
    };
    of_name(host.as_bytes(), port)
        .map_err(|(status, why)| Rejection::new(Protocol::Http, status, why))
}

fn reject(status: Status, why: &str) -> Rejection {
    Rejection::new(Protocol::Http, status, why)
}

/// Maximum bytes of a head.
const MAX_HEAD: usize = 16 * 1024;

const MAX_HEADERS: usize = 100;
