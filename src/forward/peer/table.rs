//! Has a client closed fully, or only one direction?
//!
//! Both look the same on its socket: an end of file. But while a client that half-closed still
//! holds its end, one that is gone holds none, and the kernel's table of sockets says so: its row
//! has the inode 0, or is not there any more. The table lists only this machine's sockets, so of
//! clients elsewhere nothing is known.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// True if the client at the other end of a loopback connection holds its socket no more. False
/// if it does, or if nobody knows.
pub(super) fn is_gone(local: SocketAddr, peer: SocketAddr) -> bool {
    if !peer.ip().to_canonical().is_loopback() {
        return false;
    }
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(fs::read_to_string);
    let mut known = false;
    for table in tables.into_iter().flatten() {
        known = true;
        if let Some(inode) = inode(&table, canonical(peer), canonical(local)) {
            return inode == 0;
        }
    }
    known
}

/// The inode of the socket that is bound to `own` and connected to `other`.
fn inode(table: &str, own: SocketAddr, other: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = (fields.next()?, fields.next()?);
        let wanted = parse(found.0)? == own && parse(found.1)? == other;
        wanted.then(|| fields.nth(INODE_AFTER_ADDRESSES)?.parse().ok())?
    })
}

/// Reads an address of the table: words in the machine's byte order, a colon, a port.
fn parse(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len())
        .step_by(8)
        .map(|at| {
            Some(
                u32::from_str_radix(address.get(at..at + 8)?, 16)
                    .ok()?
                    .to_ne_bytes(),
            )
        })
        .collect();
    let ip: IpAddr = match words?.as_slice() {
        [word] => Ipv4Addr::from(*word).into(),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (place, byte) in bytes.iter_mut().zip([a, b, c, d].into_iter().flatten()) {
                *place = *byte;
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

/// A client may reach an IPv4 listener by a mapped address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// State, queues, timer, retransmissions, user and timeout stand between.
const INODE_AFTER_ADDRESSES: usize = 6;

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn pair(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn looks_gone(accepted: &TcpStream) -> bool {
        is_gone(
            accepted.local_addr().unwrap(),
            accepted.peer_addr().unwrap(),
        )
    }

    #[test]
    fn a_half_closed_client_is_still_there() {
        let (client, accepted) = pair("127.0.0.1:0");
        client.shutdown(Shutdown::Write).unwrap();

        assert!(!looks_gone(&accepted));
        drop(client);
        assert!(looks_gone(&accepted));
    }

    #[test]
    fn it_is_the_same_over_ipv6() {
        let (client, accepted) = pair("[::1]:0");

        assert!(!looks_gone(&accepted));
        drop(client);
        assert!(looks_gone(&accepted));
    }

    #[test]
    fn a_row_of_the_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:D431 0100007F:1538 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 20 4 30 10 -1\n";
        let own = "127.0.0.1:54321".parse().unwrap();
        let other = "127.0.0.1:5432".parse().unwrap();

        if cfg!(target_endian = "little") {
            assert_eq!(inode(table, own, other), Some(4711));
        }
        assert_eq!(inode(table, other, own), None);
    }

    #[test]
    fn of_clients_elsewhere_nothing_is_known() {
        let local = "192.0.2.1:5432".parse().unwrap();

        assert!(!is_gone(local, "192.0.2.2:999".parse().unwrap()));
    }
}
