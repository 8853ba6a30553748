//! Addresses of this machine that no other test uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns an address without a listener. Until its test uses it, nothing else does: each call
/// returns another one, and the kernel chooses ports for other sockets from a higher range.
pub(crate) fn free_address() -> SocketAddr {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    loop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        // Another process that runs these tests begins elsewhere.
        let begin = std::process::id().wrapping_mul(SCATTER);
        let offset = begin.wrapping_add(call) % PORTS;
        let port = FIRST_PORT + u16::try_from(offset).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The first port that is returned.
const FIRST_PORT: u16 = 12_000;

/// The number of ports. The range from which Linux chooses ports begins at 32768.
const PORTS: u32 = 20_000;

/// A prime, so that processes with successive ids are far apart.
const SCATTER: u32 = 7_919;
