//! Checks the host names of HTTP requests, against DNS rebinding.
//!
//! A web page can let its own name resolve to this machine ("DNS rebinding"), and have the browser
//! of a user who may connect here read the responses: to the browser they come from the page's own
//! host. The request names that host, so a request for an unknown name is rejected. An address
//! cannot be pointed elsewhere, and neither can `localhost`.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Request, Version};

/// Host names accepted besides addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub(super) struct AllowedHosts(Vec<String>);

/// The reason why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostError {
    /// `Host` is missing, repeated or malformed.
    Malformed,
    /// The host is not this server.
    Misdirected,
}

impl AllowedHosts {
    /// Creates the set from the configured names.
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| canonical(name)).collect())
    }

    /// Checks the host in `Host`, and in a request target in absolute form.
    ///
    /// # Errors
    ///
    /// If the required host is missing (RFC 9112 section 3.2), malformed, or not this server.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), HostError> {
        let mut hosts = request.headers().get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(_), Some(_)) => return Err(HostError::Malformed),
            (Some(host), None) => {
                let host = host.to_str().map_err(|_| HostError::Malformed)?;
                let authority = host.parse().map_err(|_| HostError::Malformed)?;
                self.check_authority(&authority)?;
            }
            // Browsers always send it; HTTP/1.0 clients may not.
            (None, _) if request.version() < Version::HTTP_11 => {}
            (None, _) => return Err(HostError::Malformed),
        }
        match request.uri().authority() {
            Some(authority) => self.check_authority(authority),
            None => Ok(()),
        }
    }

    fn check_authority(&self, authority: &Authority) -> Result<(), HostError> {
        if authority.as_str().contains('@') {
            return Err(HostError::Malformed);
        }
        match self.is_authorized(authority.host()) {
            true => Ok(()),
            false => Err(HostError::Misdirected),
        }
    }

    fn is_authorized(&self, host: &str) -> bool {
        let within = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Some(address) = within {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let name = canonical(host);
        name == "localhost" || host.parse::<Ipv4Addr>().is_ok() || self.0.contains(&name)
    }
}

/// Returns the name in lower case, without the dot of the root.
fn canonical(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, target: &str, hosts: &[&str]) -> Result<(), HostError> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let names = AllowedHosts::new(&["Metrics.example.org".to_owned()]);
        names.check(&request.body(()).unwrap())
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_accepted() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9187",
            "[::1]:9187",
            "[::1]",
            "10.1.2.3:80",
            "localhost",
            "LocalHost.:9187",
            "metrics.example.org:9187",
            "METRICS.EXAMPLE.ORG.",
        ] {
            assert_eq!(
                check(Version::HTTP_11, "/status", &[host]),
                Ok(()),
                "{host}"
            );
            let absolute = format!("http://{host}/status");
            assert_eq!(
                check(Version::HTTP_11, &absolute, &[host]),
                Ok(()),
                "{host}"
            );
        }
        assert_eq!(check(Version::HTTP_10, "/status", &[]), Ok(()));
    }

    #[test]
    fn other_names_are_rejected() {
        for host in [
            "evil.example",
            "evil.example:9187",
            "localhost.evil.example",
            "evil.localhost.example",
            "127.0.0.1.evil.example",
            "metrics.example.org.evil.example",
            "example.org",
            "127.0.0.256",
            "0x7f000001",
        ] {
            let misdirected = Err(HostError::Misdirected);
            assert_eq!(check(Version::HTTP_11, "/", &[host]), misdirected, "{host}");
            assert_eq!(check(Version::HTTP_10, "/", &[host]), misdirected, "{host}");
            let absolute = format!("http://{host}/");
            assert_eq!(
                check(Version::HTTP_11, &absolute, &["localhost"]),
                misdirected,
                "{host}"
            );
        }
    }

    #[test]
    fn a_missing_or_malformed_host_is_a_request_error() {
        let malformed = Err(HostError::Malformed);
        assert_eq!(check(Version::HTTP_11, "/", &[]), malformed);
        assert_eq!(check(Version::HTTP_11, "http://localhost/", &[]), malformed);
        assert_eq!(
            check(Version::HTTP_11, "/", &["localhost", "localhost"]),
            malformed
        );
        for host in ["", "a b", "user@localhost", "localhost/x", "[::1"] {
            assert_eq!(check(Version::HTTP_11, "/", &[host]), malformed, "{host:?}");
        }
        assert_eq!(check(Version::HTTP_10, "/", &["user@localhost"]), malformed);
    }
}
