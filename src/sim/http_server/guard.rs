//! Access control for the simulator's own pages, and the timeout for request heads.
//!
//! A web page can send requests to this machine, and DNS rebinding can point its own name here.
//! Therefore requests with a foreign `Origin` are rejected, and so are requests with a `Host` other
//! than an IP address or `localhost`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hyper::header::{HOST, HeaderMap, ORIGIN};

/// Returns true if a request for one of the simulator's own pages is allowed.
pub(super) fn is_allowed(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let Some(host) = host.filter(|host| is_local(host)) else {
        return false;
    };
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.all(|origin| {
        let origin = origin.as_bytes();
        let scheme = [&b"http://"[..], b"https://"];
        let named = scheme
            .iter()
            .find_map(|scheme| origin.strip_prefix(*scheme));
        named.is_some_and(|named| named.eq_ignore_ascii_case(host.as_bytes()))
    })
}

/// Returns true for names that DNS cannot redirect: IP addresses and `localhost`.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let within = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match within {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok() || name.eq_ignore_ascii_case("localhost"),
    }
}

/// Time limit for the TLS handshake and for each request head.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        is_allowed(&headers)
    }

    #[test]
    fn pages_are_served_to_this_machine_and_not_to_other_origins() {
        for host in [
            "127.0.0.1:80",
            "127.0.0.1",
            "localhost:1",
            "[::1]:80",
            "[::1]",
            "10.0.0.1:1",
        ] {
            assert!(allowed(host, None), "{host}");
            assert!(allowed(host, Some(&format!("http://{host}"))), "{host}");
            assert!(!allowed(host, Some("http://example.org")), "{host}");
            assert!(!allowed(host, Some("null")), "{host}");
        }
        for host in [
            "example.org",
            "127.0.0.1.example.org:80",
            "localhost.example.org",
            "[x]",
            "",
        ] {
            assert!(!allowed(host, None), "{host}");
        }
        assert!(!is_allowed(&HeaderMap::new()));
    }
}
