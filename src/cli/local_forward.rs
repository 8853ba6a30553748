//! `-L`, a local address and a destination, and `-D`, a local address, in the syntax of ssh.
//!
//! ```text
//!   5432:db.internal:5432              localhost:5432 ▶ db.internal:5432
//!   127.0.0.1:0:db.internal:5432       a free port
//!   [::1]:8080:[2001:db8::1]:80        IPv6 in brackets
//!   /run/user/1000/db.sock:db:5432     a Unix socket
//!   8080:localhost:80                  a port of the target itself
//!   5432, 127.0.0.1:0, /run/db.sock    the destination of `--document`
//! ```

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::config::{Listen, Remote};

/// A local address and a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalForward {
    text: String,
    pub(super) listen: Listen,
    /// `None`: that of the document.
    pub(super) remote: Option<Remote>,
}

impl FromStr for LocalForward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        let (listen, remote) = match &parts[..] {
            [local @ .., host, port] if !local.is_empty() => {
                (listen(local)?, Some(remote(host, port)?))
            }
            // Two parts are more often an incomplete destination than a local address alone.
            local => (listen(local).map_err(|_| FORM.to_owned())?, None),
        };
        Ok(Self {
            text: text.to_owned(),
            listen,
            remote,
        })
    }
}

impl fmt::Display for LocalForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The local address of a proxy: `-D`.
#[derive(Clone, Debug)]
pub(super) struct DynamicForward {
    text: String,
    pub(super) listen: Listen,
}

impl FromStr for DynamicForward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self {
            text: text.to_owned(),
            listen: listen(&parts(text)?).map_err(|error| match error == FORM {
                true => "write [BIND:]PORT, for example 1080".to_owned(),
                false => error,
            })?,
        })
    }
}

impl fmt::Display for DynamicForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits at colons outside of brackets, and removes the brackets.
fn parts(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut is_inside = false;
    for c in text.chars() {
        match c {
            '[' if !is_inside => is_inside = true,
            ']' if is_inside => is_inside = false,
            ':' if !is_inside => parts.push(String::new()),
            c => parts.last_mut().ok_or("")?.push(c),
        }
    }
    match is_inside {
        true => Err("missing closing bracket".to_owned()),
        false => Ok(parts),
    }
}

fn listen(parts: &[String]) -> Result<Listen, String> {
    let (bind, port) = match parts {
        [path] if path.starts_with('/') => {
            return format!("unix:{path}").parse().map_err(with_hint);
        }
        [port] => ("localhost", port),
        [bind, port] => (bind.as_str(), port),
        _ => return Err(FORM.to_owned()),
    };
    let port: u16 = port
        .parse()
        .map_err(|_| format!("invalid port {port:?}: expected 0 to 65535"))?;
    match bind {
        "localhost" => Ok(Listen::Localhost(port)),
        // As in ssh: all addresses of this machine.
        "" | "*" => Ok(Listen::Tcp(SocketAddr::new([0, 0, 0, 0].into(), port))),
        bind => {
            let ip: Result<IpAddr, _> = bind.parse();
            let ip = ip.map_err(|_| {
                format!("invalid bind address {bind:?}: expected an IP address, localhost or *")
            })?;
            Ok(Listen::Tcp(SocketAddr::new(ip, port)))
        }
    }
}

fn remote(host: &str, port: &str) -> Result<Remote, String> {
    let text = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    text.parse().map_err(with_hint)
}

fn with_hint(error: crate::config::ValueError) -> String {
    format!("{error}; {}", error.hint())
}

const FORM: &str = "write [BIND:]PORT:HOST:HOSTPORT, for example 5432:db.internal:5432";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String) {
        let read: LocalForward = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
        let remote = read.remote.map(|remote| remote.to_string());
        (read.listen.to_string(), remote.unwrap_or_default())
    }

    #[test]
    fn the_syntax_of_ssh_is_accepted() {
        for (text, listen, remote) in [
            ("5432:db:5432", "localhost:5432", "db:5432"),
            ("0:db:5432", "localhost:0", "db:5432"),
            ("localhost:1:db:2", "localhost:1", "db:2"),
            ("127.0.0.2:1:db:2", "127.0.0.2:1", "db:2"),
            ("*:1:db:2", "0.0.0.0:1", "db:2"),
            (":1:db:2", "0.0.0.0:1", "db:2"),
            ("[::1]:1:[2001:db8::1]:2", "[::1]:1", "[2001:db8::1]:2"),
            ("/run/db.sock:db:2", "unix:/run/db.sock", "db:2"),
            ("80:localhost:8080", "localhost:80", "localhost:8080"),
            ("5432", "localhost:5432", ""),
            ("127.0.0.2:0", "127.0.0.2:0", ""),
            ("[::1]:1", "[::1]:1", ""),
            ("/run/db.sock", "unix:/run/db.sock", ""),
        ] {
            assert_eq!(read(text), (listen.to_owned(), remote.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_proxy_has_a_local_address_only() {
        for (text, listen) in [
            ("1080", "localhost:1080"),
            ("127.0.0.2:0", "127.0.0.2:0"),
            ("[::1]:1080", "[::1]:1080"),
            ("*:1080", "0.0.0.0:1080"),
            ("/run/proxy.sock", "unix:/run/proxy.sock"),
        ] {
            let read: DynamicForward = text.parse().unwrap();
            assert_eq!(read.listen.to_string(), listen);
        }
        for bad in ["", "1080:db:5432", "65536", "db:1", "run/x"] {
            assert!(bad.parse::<DynamicForward>().is_err(), "{bad}");
        }
    }

    #[test]
    fn invalid_forwards_are_rejected() {
        for bad in [
            "",
            "1:2",
            "5432:db",
            "db:5432",
            "65536",
            "a:db:1",
            "1:db:",
            "1:db:0",
            "1:db:99999",
            "65536:db:1",
            "1:2:3:4:5",
            "[::1:1:db:2",
            "example.com:1:db:2",
            "1:127.0.0.2:5",
            "run/db.sock:db:2",
        ] {
            assert!(bad.parse::<LocalForward>().is_err(), "{bad}");
        }
    }
}
