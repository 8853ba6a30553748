//! State of one TCP socket in the kernel, queried over netlink.
//!
//! One request, one response, both of fixed size; never blocks. Specification: sock_diag(7).

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

/// A socket in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Bytes, plus a FIN, that the other end has not acknowledged.
    pub(super) unacknowledged: u32,
    /// Its inode; 0 if no process holds it.
    pub(super) inode: u32,
}

/// Finds the socket that is bound to `own` and connected to `other`, in the network namespace of
/// this process. Returns `None` if there is none.
///
/// # Errors
///
/// If netlink is not available: another system, or a sandbox.
pub(super) fn find(own: SocketAddr, other: SocketAddr) -> io::Result<Option<Entry>> {
    let mut kept = NETLINK.lock().unwrap_or_else(PoisonError::into_inner);
    let mut netlink = match kept.take() {
        Some(netlink) => netlink,
        None => open()?,
    };
    netlink.send(&request(own, other))?;
    let mut answer = [0; MAX_ANSWER];
    let len = netlink.read(&mut answer)?;
    let found = parse(&answer[..len])?;
    *kept = Some(netlink);
    Ok(found)
}

/// The netlink socket, unless the last query failed. It is kept because a process without free
/// descriptors must still detect closed clients: they hold descriptors.
static NETLINK: Mutex<Option<Socket>> = Mutex::new(None);

fn open() -> io::Result<Socket> {
    let netlink = Socket::new(
        Domain::from(AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    netlink.set_nonblocking(true)?;
    Ok(netlink)
}

/// Encodes a header of 16 bytes and the query.
fn request(own: SocketAddr, other: SocketAddr) -> Vec<u8> {
    let family = if own.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut request = Vec::with_capacity(usize::from(REQUEST_LEN));
    request.extend(u32::from(REQUEST_LEN).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and sender, which are not used.
    request.extend([0; 8]);
    request.extend([family, IPPROTO_TCP, 0, 0]);
    request.extend(ALL_STATES.to_ne_bytes());
    request.extend(own.port().to_be_bytes());
    request.extend(other.port().to_be_bytes());
    request.extend(octets(own.ip()));
    request.extend(octets(other.ip()));
    // The interface: any.
    request.extend([0; 4]);
    request.extend(NO_COOKIE);
    request
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn parse(answer: &[u8]) -> io::Result<Option<Entry>> {
    let strange = || io::Error::from(io::ErrorKind::InvalidData);
    let word = |at: usize| -> io::Result<u32> {
        let bytes = answer.get(at..at + 4).ok_or_else(strange)?;
        bytes
            .try_into()
            .map(u32::from_ne_bytes)
            .map_err(|_| strange())
    };
    let kind = answer.get(4..6).ok_or_else(strange)?;
    if kind == SOCK_DIAG_BY_FAMILY.to_ne_bytes() {
        return Ok(Some(Entry {
            unacknowledged: word(WRITE_QUEUE)?,
            inode: word(INODE)?,
        }));
    }
    if kind != NLMSG_ERROR.to_ne_bytes() {
        return Err(strange());
    }
    match io::Error::from_raw_os_error(word(HEADER_LEN)?.cast_signed().wrapping_neg()) {
        error if error.kind() == io::ErrorKind::NotFound => Ok(None),
        error => Err(error),
    }
}

// Linux: linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h.
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const ALL_STATES: u32 = u32::MAX;
const NO_COOKIE: [u8; 8] = [u8::MAX; 8];

/// `nlmsghdr`.
const HEADER_LEN: usize = 16;

/// `nlmsghdr` and `inet_diag_req_v2`.
const REQUEST_LEN: u16 = 72;

/// `idiag_wqueue` and `idiag_inode`, after the header, four bytes, the addresses (48), and other
/// numbers.
const WRITE_QUEUE: usize = HEADER_LEN + 4 + 48 + 8;
const INODE: usize = WRITE_QUEUE + 8;

/// A response has 88 bytes and a few attributes.
const MAX_ANSWER: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_length() {
        let v4 = "127.0.0.1:1".parse().unwrap();
        let v6 = "[::1]:1".parse().unwrap();

        assert_eq!(request(v4, v4).len(), usize::from(REQUEST_LEN));
        assert_eq!(request(v6, v6).len(), usize::from(REQUEST_LEN));
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        for len in 0..HEADER_LEN + 4 {
            assert!(parse(&vec![0; len]).is_err(), "{len}");
        }
        let mut cut = vec![0; INODE];
        cut[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        assert!(parse(&cut).is_err());
    }
}
