//! Listeners on TCP ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::error::{ListenError, ListenErrorKind};
use super::{BACKLOG, Listener};
use crate::config::Listen;

/// Binds both loopbacks on one port; on a machine without IPv6, IPv4 only. Port 0 is one free
/// port, the same for both. Listeners that `existing` returns are not bound again.
///
/// # Errors
///
/// Returns the error of the first address that cannot be bound.
pub(super) fn bind_localhost(
    port: u16,
    mut existing: impl FnMut(SocketAddr) -> Option<Arc<Listener>>,
) -> Result<Vec<Arc<Listener>>, ListenError> {
    for _ in 0..FREE_PORT_ATTEMPTS {
        let v4 = bind(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            &mut existing,
        )?;
        let chosen = v4.port().map_or(port, |address| address.port());
        let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), chosen);
        match bind(v6, &mut existing) {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(error) if is_without_ipv6(&error) => return Ok(vec![v4]),
            Err(error) if port == 0 && error.kind() == Some(io::ErrorKind::AddrInUse) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ListenError::new(
        Listen::Localhost(port),
        ListenErrorKind::InUse,
    ))
}

/// Binds one address, unless `existing` returns its listener.
///
/// # Errors
///
/// If it cannot be bound.
pub(super) fn bind(
    address: SocketAddr,
    mut existing: impl FnMut(SocketAddr) -> Option<Arc<Listener>>,
) -> Result<Arc<Listener>, ListenError> {
    if let Some(listener) = existing(address) {
        return Ok(listener);
    }
    let error = |error: io::Error| ListenError::new(Listen::Tcp(address), error.into());
    let bound = listen_on(address).map_err(error)?;
    Ok(Arc::new(Listener::Tcp(bound)))
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
    // A restart must not wait for connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_without_ipv6(error: &ListenError) -> bool {
    let ListenErrorKind::System(error) = &error.kind else {
        return false;
    };
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// A port that is free on one loopback may be taken on the other.
const FREE_PORT_ATTEMPTS: usize = 16;

/// "Address family not supported by protocol", on Linux and macOS.
const EAFNOSUPPORT: i32 = if cfg!(target_os = "macos") { 47 } else { 97 };

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_one_port_on_both_loopbacks() {
        let listeners = bind_localhost(0, |_| None).unwrap();

        let addresses: Vec<_> = listeners.iter().map(|l| l.port().unwrap()).collect();
        assert!(addresses.iter().all(|a| a.ip().is_loopback()));
        assert!(addresses.iter().all(|a| a.port() == addresses[0].port()));
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_a_hint() {
        let other = bind("127.0.0.1:0".parse().unwrap(), |_| None).unwrap();
        let address = other.port().unwrap();

        let error = bind(address, |_| None).unwrap_err();

        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address}: address already in use")
        );
        assert!(error.hint().contains(&address.port().to_string()));
    }
}
