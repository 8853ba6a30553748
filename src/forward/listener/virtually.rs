//! Listeners in memory, for unit tests in virtual time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::Listener;
use super::error::ListenError;
use crate::config::Listen;
use crate::virtual_net::{self, Address};

/// Binds an address (`localhost`: each loopback). Ports that `existing` returns are not bound.
///
/// # Errors
///
/// Returns the error of the first address that cannot be bound.
pub(super) fn bind(
    listen: &Listen,
    mut existing: impl FnMut(SocketAddr) -> Option<Arc<Listener>>,
) -> Result<Vec<Arc<Listener>>, ListenError> {
    let bound = addresses(listen).into_iter().map(|address| {
        if let Some(listener) = address.tcp().ok().and_then(&mut existing) {
            return Ok(listener);
        }
        let bound = virtual_net::bind(address);
        let bound = bound.map_err(|error| ListenError::new(listen.clone(), error.into()))?;
        Ok(Arc::new(Listener::Virtual(bound)))
    });
    bound.collect()
}

/// Returns the address of a listener as in the configuration.
pub(super) fn address(listener: &virtual_net::Listener) -> Listen {
    match listener.address() {
        Address::Tcp(address) => Listen::Tcp(*address),
        Address::Unix(path) => Listen::Unix(path.clone()),
    }
}

fn addresses(listen: &Listen) -> Vec<Address> {
    let tcp = |ip: IpAddr, port| Address::Tcp(SocketAddr::new(ip, port));
    match listen {
        Listen::Tcp(address) => vec![Address::Tcp(*address)],
        Listen::Localhost(port) => vec![
            tcp(Ipv4Addr::LOCALHOST.into(), *port),
            tcp(Ipv6Addr::LOCALHOST.into(), *port),
        ],
        Listen::Unix(path) => vec![Address::Unix(path.clone())],
        Listen::Systemd(_) => Vec::new(),
    }
}
