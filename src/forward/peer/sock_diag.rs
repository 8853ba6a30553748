//! State of one TCP socket in the kernel, queried over netlink.
//!
//! One request, one response, both of fixed size; never blocks. Specification: sock_diag(7).

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

/// A socket in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketEntry {
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
pub(super) fn find(own: SocketAddr, other: SocketAddr) -> io::Result<Option<SocketEntry>> {
    let mut kept = NETLINK.lock().unwrap_or_else(PoisonError::into_inner);
    let netlink = match kept.take() {
        Some(netlink) if !netlink.has_failed => netlink,
        // Without a free descriptor the old socket is better than none.
        Some(netlink) => Netlink::open().unwrap_or(netlink),
        None => Netlink::open()?,
    };
    kept.insert(netlink).find(own, other)
}

/// The netlink socket. It is kept because a process without free descriptors must still detect
/// closed clients: they hold descriptors.
static NETLINK: Mutex<Option<Netlink>> = Mutex::new(None);

/// A netlink socket, and the number of its last query. Each response carries the number of its
/// query, so that a late response is never taken for that of another query.
struct Netlink {
    socket: Socket,
    sequence: u32,
    /// The last query got no response. An error response counts as a response.
    has_failed: bool,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::from(AF_NETLINK),
            Type::DGRAM,
            Some(Protocol::from(NETLINK_SOCK_DIAG)),
        )?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            sequence: 0,
            has_failed: false,
        })
    }

    fn find(&mut self, own: SocketAddr, other: SocketAddr) -> io::Result<Option<SocketEntry>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.query(&request(self.sequence, own, other))
    }

    /// Sends a query that has the current number, and parses its response.
    fn query(&mut self, request: &[u8]) -> io::Result<Option<SocketEntry>> {
        let answered = self.socket.send(request).and_then(|_| self.response());
        self.has_failed = answered.is_err();
        parse(&answered?)
    }

    /// Returns the response to the last query. Skips late responses to earlier ones.
    fn response(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; MAX_RESPONSE];
        for _ in 0..MAX_LATE {
            let len = self.socket.read(&mut buffer)?;
            let response = &buffer[..len];
            if response.get(SEQUENCE) == Some(&self.sequence.to_ne_bytes()) {
                return Ok(response.to_vec());
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Encodes a header of 16 bytes and the query.
fn request(sequence: u32, own: SocketAddr, other: SocketAddr) -> Vec<u8> {
    let family = if own.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut request = Vec::with_capacity(usize::from(REQUEST_LEN));
    request.extend(u32::from(REQUEST_LEN).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    // The sender: filled in by the kernel.
    request.extend([0; 4]);
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

fn parse(response: &[u8]) -> io::Result<Option<SocketEntry>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let integer = |at: usize| -> io::Result<u32> {
        let bytes = response.get(at..at + 4).ok_or_else(malformed)?;
        bytes
            .try_into()
            .map(u32::from_ne_bytes)
            .map_err(|_| malformed())
    };
    let kind = response.get(4..6).ok_or_else(malformed)?;
    if kind == SOCK_DIAG_BY_FAMILY.to_ne_bytes() {
        // If the connection is gone, the kernel answers with the listener of its address.
        if response.get(STATE) == Some(&LISTENING) {
            return Ok(None);
        }
        return Ok(Some(SocketEntry {
            unacknowledged: integer(WRITE_QUEUE)?,
            inode: integer(INODE)?,
        }));
    }
    if kind != NLMSG_ERROR.to_ne_bytes() {
        return Err(malformed());
    }
    match io::Error::from_raw_os_error(integer(HEADER_LEN)?.cast_signed().wrapping_neg()) {
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

/// `nlmsg_seq`.
const SEQUENCE: Range<usize> = 8..12;

/// `nlmsghdr` and `inet_diag_req_v2`.
const REQUEST_LEN: u16 = 72;

/// `idiag_state`, after the family.
const STATE: usize = HEADER_LEN + 1;

/// `TCP_LISTEN`.
const LISTENING: u8 = 10;

/// `idiag_wqueue` and `idiag_inode`, after the header, four bytes, the addresses (48), and other
/// numbers.
const WRITE_QUEUE: usize = HEADER_LEN + 4 + 48 + 8;
const INODE: usize = WRITE_QUEUE + 8;

/// A response has 88 bytes and a few attributes.
const MAX_RESPONSE: usize = 1024;

/// Maximum number of late responses that are skipped.
const MAX_LATE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_is_not_taken_for_a_connection_that_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(own).unwrap();
        let other = client.local_addr().unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(find(own, other).unwrap().is_some());

        // A reset leaves no connection, not even one that waits.
        socket2::SockRef::from(&client)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        drop((client, accepted));

        assert_eq!(find(own, other).unwrap(), None);
    }

    #[test]
    fn a_request_has_its_length() {
        let v4 = "127.0.0.1:1".parse().unwrap();
        let v6 = "[::1]:1".parse().unwrap();

        assert_eq!(request(1, v4, v4).len(), usize::from(REQUEST_LEN));
        assert_eq!(request(1, v6, v6).len(), usize::from(REQUEST_LEN));
    }

    #[test]
    fn a_socket_is_kept_after_an_error_response() {
        let (mut netlink, own, other) = (Netlink::open().unwrap(), address(1), address(2));
        netlink.sequence = 7;
        // Too short for a query, but its header is complete.
        let mut short = request(7, own, other)[..20].to_vec();
        short[..4].copy_from_slice(&20_u32.to_ne_bytes());

        let error = netlink.query(&short).unwrap_err();

        assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
        assert!(!netlink.has_failed, "{error}");
        assert_eq!(netlink.find(own, other).unwrap(), None);
    }

    #[test]
    fn a_late_response_is_not_taken_for_that_of_another_query() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (own, other) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let mut netlink = Netlink::open().unwrap();

        netlink.socket.send(&request(0, own, other)).unwrap();

        assert_eq!(netlink.find(address(1), address(2)).unwrap(), None);
        assert!(netlink.find(own, other).unwrap().is_some());
    }

    #[test]
    fn a_socket_without_a_response_is_marked_as_failed() {
        let mut netlink = Netlink::open().unwrap();
        netlink.sequence = 1;
        // The number of another query: the response is skipped, and none follows.
        let error = netlink.query(&request(9, address(1), address(2)));

        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(netlink.has_failed);
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_malformed_response_is_an_error() {
        for len in 0..HEADER_LEN + 4 {
            assert!(parse(&vec![0; len]).is_err(), "{len}");
        }
        let mut cut = vec![0; INODE];
        cut[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        assert!(parse(&cut).is_err());
    }
}
