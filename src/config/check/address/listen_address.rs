//! Addresses to listen on, as they are written: most stand for themselves, `hosts` for the loopback
//! address of the remote host.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::config::diagnostic::ValueError;
use crate::config::model::Listen;

/// An address in `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config::check) enum ListenAddress {
    /// A certain one.
    Fixed(Listen),
    /// That of the remote host, at this port or that of `remote`.
    OfHost(Option<u16>),
}

/// The loopback address of the host in `remote`, and the port in `remote`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config::check) struct HostAddress {
    pub(in crate::config::check) address: Ipv4Addr,
    pub(in crate::config::check) port: u16,
}

impl ListenAddress {
    /// Returns the address; `None` if it is that of a remote host, and there is none.
    pub(in crate::config::check) fn resolve(self, host: Option<HostAddress>) -> Option<Listen> {
        match self {
            Self::Fixed(listen) => Some(listen),
            Self::OfHost(port) => {
                let host = host?;
                let port = port.unwrap_or(host.port);
                Some(Listen::Tcp(SocketAddr::from((host.address, port))))
            }
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == HOSTS {
            return Ok(Self::OfHost(None));
        }
        let port = text.strip_prefix(HOSTS).and_then(|t| t.strip_prefix(':'));
        let Some(port) = port else {
            return text.parse().map(Self::Fixed);
        };
        // Clients use the real name and this port, so it cannot be any free one.
        super::port(port, 1).map(|port| Self::OfHost(Some(port)))
    }
}

/// Stands for the address that the command `hosts` gives to the remote host.
const HOSTS: &str = "hosts";
