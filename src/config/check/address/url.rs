//! URLs of endpoints and proxies.

use crate::config::check::address::{Pair, is_localhost, port};
use crate::config::diagnostic::ValueError;
use crate::config::model::NO_PROXY;

/// Checks the URL of an API endpoint.
pub(in crate::config) fn check_endpoint(url: &str) -> Result<(), ValueError> {
    let example = "for example \"https://ssm.eu-west-1.amazonaws.com\"";
    endpoint_path(url, &["https", "http"], example).map(|_| ())
}

/// Checks the URL of an endpoint for data channels.
pub(in crate::config) fn check_gateway(url: &str) -> Result<(), ValueError> {
    let example = "for example \"https://vpce-0123-abcd.ssmmessages.eu-west-1.vpce.amazonaws.com\"";
    match endpoint_path(url, &["https", "wss", "http", "ws"], example)? {
        "" => Ok(()),
        _ => Err(ValueError::new(
            "the URL has a path",
            "remove the path: StartSession returns it for each session",
        )),
    }
}

/// Checks the URL of a proxy. Errors do not quote it, as it may contain a password.
pub(in crate::config) fn check_proxy(url: &str) -> Result<(), ValueError> {
    if url == NO_PROXY {
        return Ok(());
    }
    let example = "for example \"http://proxy.corp:3128\"";
    let (scheme, rest) = split(url, example)?;
    let (user, address) = rest.rsplit_once('@').unwrap_or(("", rest));
    let address = address.strip_suffix('/').unwrap_or(address);
    let fault = |what: &str, hint| Err(ValueError::new(what, hint));
    match scheme.as_str() {
        "http" if !is_encoded(user) => fault(
            "the user or password has a character that is not allowed in a URL",
            "percent-encode all characters except letters and digits: `@` is %40, `%` is %25",
        ),
        "http" if address.contains(['/', '?', '#', '\\']) => {
            fault("the URL has more than a host and a port", example)
        }
        "http" if is_loopback(address).is_err() => {
            fault("the URL has no valid host and port", example)
        }
        "http" => Ok(()),
        "https" | "socks4" | "socks4a" | "socks5" | "socks5h" => fault(
            &format!("{scheme}:// proxies are not supported"),
            "use an HTTP proxy: \"http://proxy.corp:3128\"",
        ),
        _ => fault("the URL does not begin with http://", example),
    }
}

/// Returns whether a text is printable, with two hexadecimal digits after each `%`.
fn is_encoded(text: &str) -> bool {
    let is_code =
        |part: &str| part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    text.chars().all(|c| c.is_ascii_graphic()) && text.split('%').skip(1).all(is_code)
}

/// Returns the scheme in lower case, and the rest.
fn split<'a>(url: &'a str, example: &str) -> Result<(String, &'a str), ValueError> {
    let parts = url.split_once("://");
    let (scheme, rest) = parts.ok_or_else(|| ValueError::new("not a URL", example))?;
    Ok((scheme.to_ascii_lowercase(), rest))
}

/// Checks the URL of an endpoint: without a user, with TLS unless it is on this machine. Returns
/// the path without its leading slash. Errors name the first two schemes only.
fn endpoint_path<'a>(url: &'a str, schemes: &[&str], example: &str) -> Result<&'a str, ValueError> {
    let (scheme, rest) = split(url, example)?;
    if !schemes.contains(&scheme.as_str()) {
        let what = format!(
            "the URL must begin with {}:// or {}://",
            schemes[0], schemes[1]
        );
        return Err(ValueError::new(what, example));
    }
    if rest.contains('@') {
        let hint = "remove `user:password@`: requests are signed with AWS credentials";
        return Err(ValueError::new("the URL has a user or a password", hint));
    }
    if rest.contains(['?', '#', '\\']) || !rest.chars().all(|c| c.is_ascii_graphic()) {
        let what = "the URL has more than a host, a port and a path";
        return Err(ValueError::new(what, example));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !is_loopback(authority)? && ["http", "ws"].contains(&scheme.as_str()) {
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
