//! Local listeners, and why a bind failed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::config::Listen;

/// Binds every address of a forward, or none.
///
/// # Errors
///
/// The first address that cannot be bound.
pub(super) fn bind(listen: &[Listen]) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    for address in listen {
        match *address {
            Listen::Tcp(address) => listeners.push(bind_tcp(address)?),
            Listen::Localhost(port) => listeners.extend(bind_localhost(port)?),
        }
    }
    Ok(listeners)
}

/// Both loopbacks on one port; on a machine without IPv6, the one there is. Port 0 is one free
/// port, the same for both.
fn bind_localhost(port: u16) -> Result<Vec<TcpListener>, ListenError> {
    for _ in 0..FREE_PORT_ATTEMPTS {
        let v4 = bind_tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))?;
        let chosen = v4.local_addr().map_or(port, |address| address.port());
        match bind_tcp(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), chosen)) {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(error) if error.is_without_ipv6() => return Ok(vec![v4]),
            Err(error) if port == 0 && error.is_in_use() => {}
            Err(error) => return Err(error),
        }
    }
    let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
    Err(ListenError {
        address,
        source: io::ErrorKind::AddrInUse.into(),
    })
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    listen_on(address).map_err(|source| ListenError { address, source })
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the connections of the former run to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A local address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", words(.source))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl ListenError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let kind = self.source.kind();
        let port = self.address.port();
        if kind == io::ErrorKind::AddrInUse {
            format!(
                "another program holds this port; choose another `listen`, or find it with `ss -ltnp 'sport = :{port}'`"
            )
        } else if kind == io::ErrorKind::PermissionDenied {
            "ports below 1024 need a privilege; choose a higher one, or grant CAP_NET_BIND_SERVICE"
                .to_owned()
        } else {
            "choose another `listen`; the addresses of this machine are in `ip address`".to_owned()
        }
    }

    fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    fn is_without_ipv6(&self) -> bool {
        let unsupported = self.source.raw_os_error() == Some(EAFNOSUPPORT);
        unsupported || self.source.kind() == io::ErrorKind::AddrNotAvailable
    }
}

/// The system's words, without the number behind them.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A port that is free on one loopback may be taken on the other.
const FREE_PORT_ATTEMPTS: usize = 16;

/// "Address family not supported by protocol", on Linux and macOS.
const EAFNOSUPPORT: i32 = if cfg!(target_os = "macos") { 47 } else { 97 };

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap()
    }

    #[test]
    fn localhost_is_one_port_on_both_loopbacks() {
        let runtime = runtime();
        let _guard = runtime.enter();

        let listeners = bind(&[Listen::Localhost(0)]).unwrap();

        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|a| a.ip().is_loopback()));
        assert!(addresses.iter().all(|a| a.port() == addresses[0].port()));
    }

    #[test]
    fn a_port_in_use_is_named_with_the_remedy() {
        let runtime = runtime();
        let _guard = runtime.enter();
        let held = bind(&[Listen::Tcp("127.0.0.1:0".parse().unwrap())]).unwrap();
        let address = held[0].local_addr().unwrap();

        let error = bind(&[Listen::Tcp(address)]).unwrap_err();

        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address}: address already in use")
        );
        assert!(error.hint().contains(&address.port().to_string()));
    }
}
