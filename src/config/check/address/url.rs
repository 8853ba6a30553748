//! URLs of endpoints and proxies.

use crate::config::check::address::{Pair, is_localhost, port};
use crate::config::diagnostic::ValueError;
use crate::config::model::NO_PROXY;
use crate::config::redact::is_host;

/// Checks the URL of an API endpoint.
pub(in crate::config::check) fn check_endpoint(url: &str) -> Result<(), ValueError> {
    let example = "for example \"https://ssm.eu-west-1.amazonaws.com\"";
    let (scheme, rest) = split(url, example)?;
    let is_plain = match scheme.as_str() {
        "http" => true,
        "https" => false,
        _ => {
            let what = "the URL must begin with https:// or http://";
            return Err(ValueError::new(what, example));
        }
    };
    check_host(rest, is_plain, example).map(|_| ())
}

/// Checks the URL of an endpoint for data channels.
pub(in crate::config::check) fn check_gateway(url: &str) -> Result<(), ValueError> {
    let example = "for example \"https://vpce-0123-abcd.ssmmessages.eu-west-1.vpce.amazonaws.com\"";
    let (scheme, rest) = split(url, example)?;
    let is_plain = match scheme.as_str() {
        "http" | "ws" => true,
        "https" | "wss" => false,
        _ => {
            let what = "the URL must begin with https:// or wss://";
            return Err(ValueError::new(what, example));
        }
    };
    let path = check_host(rest, is_plain, example)?;
    if !path.is_empty() {
        let hint = "remove the path: StartSession returns it for each session";
        return Err(ValueError::new("the URL has a path", hint));
    }
    Ok(())
}

/// Checks the URL of a proxy. Errors do not quote it, as it may contain a password.
pub(in crate::config::check) fn check_proxy(url: &str) -> Result<(), ValueError> {
    if url == NO_PROXY {
        return Ok(());
    }
    let example = "for example \"http://proxy.corp:3128\"";
    let (scheme, rest) = split(url, example)?;
    match scheme.as_str() {
        "http" => {}
        "https" | "socks4" | "socks4a" | "socks5" | "socks5h" => {
            let what = format!("{scheme}:// proxies are not supported");
            return Err(ValueError::new(
                what,
                "use an HTTP proxy: \"http://proxy.corp:3128\"",
            ));
        }
        _ => {
            return Err(ValueError::new(
                "the URL does not begin with http://",
                example,
            ));
        }
    }
    let (user, address) = rest.rsplit_once('@').unwrap_or(("", rest));
    if !is_encoded(user) {
        let what = "the user or password has a character that is not allowed in a URL";
        let hint =
            "percent-encode all characters except letters and digits: `@` is %40, `%` is %25";
        return Err(ValueError::new(what, hint));
    }
    let address = address.strip_suffix('/').unwrap_or(address);
    if address.contains(['/', '?', '#', '\\']) {
        return Err(ValueError::new(
            "the URL has more than a host and a port",
            example,
        ));
    }
    let may_quote = !rest.contains('@') && is_host(rest);
    match is_loopback(address) {
        Ok(_) => Ok(()),
        Err(fault) if may_quote => Err(fault),
        Err(_) => Err(ValueError::new(
            "the URL has no valid host and port",
            example,
        )),
    }
}

/// Returns whether a text is printable, with two hexadecimal digits after each `%`.
fn is_encoded(text: &str) -> bool {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default();
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
    let is_code = |part: &str| {
        part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit()) && is_plain(part)
    };
    is_plain(first) && parts.all(is_code)
}

/// Returns the scheme in lower case, and the rest.
fn split<'a>(url: &'a str, example: &str) -> Result<(String, &'a str), ValueError> {
    let parts = url.split_once("://");
    let (scheme, rest) = parts.ok_or_else(|| ValueError::new("not a URL", example))?;
    Ok((scheme.to_ascii_lowercase(), rest))
}

/// Checks the part after the scheme. Returns the path without its leading slash.
fn check_host<'a>(rest: &'a str, is_plain: bool, example: &str) -> Result<&'a str, ValueError> {
    if rest.contains('@') {
        let hint = "remove `user:password@`: requests are signed with AWS credentials";
        return Err(ValueError::new("the URL has a user or a password", hint));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if rest.contains(['?', '#', '\\']) || !rest.chars().all(|c| c.is_ascii_graphic()) {
        let what = "the URL has more than a host, a port and a path";
        return Err(ValueError::new(what, example));
    }
    let is_loopback = is_loopback(authority)?;
    if is_plain && !is_loopback {
        let what = "without TLS an endpoint must be a loopback address";
        return Err(ValueError::new(what, "write https://"));
    }
    Ok(path)
}

/// Checks a host with an optional port. Returns whether it is the local machine.
fn is_loopback(authority: &str) -> Result<bool, ValueError> {
    let has_port = match authority.strip_prefix('[') {
        Some(host) => host.contains("]:"),
        None => authority.contains(':'),
    };
    let with_port = format!("{authority}{}", if has_port { "" } else { ":443" });
    let pair = Pair::of(&with_port)?;
    port(pair.port, 1)?;
    Ok(match pair.address()? {
        Some(address) => address.to_canonical().is_loopback(),
        None => is_localhost(pair.host),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_perhaps_a_port_and_who_asks() {
        for good in [
            "http://proxy.corp:3128",
            "HTTP://10.0.0.7/",
            "http://me:s%40cret@[::1]:8080",
        ] {
            assert_eq!(check_proxy(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "proxy.corp:3128",
            "https://proxy.corp",
            "socks5h://me:s3cret@proxy.corp",
            "ftp://proxy.corp",
            "http://",
            "http://me:s3cret%@proxy.corp",
            "http://me:s3cret ä@proxy.corp",
            "http://me:s3cret@proxy.corp/x",
            "http://me:s3cret@proxy.corp:0",
            "http://me:s3cret",
            "http://proxy.corp:3128@me:s3cret",
            "me:s3cret@proxy.corp:3128",
            "http:/me:s3cret@proxy.corp:3128",
            "http:me:s3cret@proxy.corp:3128",
            "//me:s3cret@proxy.corp:3128",
            "me:s3cret://proxy.corp",
            "me s3cret://x@proxy.corp",
        ] {
            let fault = check_proxy(bad).expect_err(bad);
            let told = format!("{fault} {}", fault.hint());
            assert!(!told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn an_endpoint_for_data_channels_is_a_host_and_perhaps_a_port() {
        for good in [
            "https://vpce-1.ssmmessages.eu-west-1.vpce.amazonaws.com",
            "wss://vpce-1.ssmmessages.eu-west-1.vpce.amazonaws.com/",
            "WSS://gateway.corp:8443",
            "ws://127.0.0.1:4566",
            "http://[::1]:4566",
        ] {
            assert_eq!(check_gateway(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "vpce-1.ssmmessages.eu-west-1.vpce.amazonaws.com",
            "ftp://x",
            "ws://gateway.corp",
            "http://10.0.0.7",
            "https://me:pw@host",
            "https://h/a",
            "https://h//",
            "https://h/?a",
            "wss://",
        ] {
            assert!(check_gateway(bad).is_err(), "{bad}");
        }
    }
}
