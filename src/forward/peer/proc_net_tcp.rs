//! State of TCP sockets, from the kernel's table in /proc.
//!
//! Reading it takes longer the more sockets exist, and may miss a row that moves meanwhile: only
//! rows that are found are conclusive.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::canonical;

/// Returns true if the socket that is bound to `own` and connected to `other` is found, and no
/// process holds it.
pub(super) async fn is_orphaned(own: SocketAddr, other: SocketAddr) -> bool {
    let _one_at_a_time = READER.lock().await;
    let found = spawn_blocking(move || {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(fs::read_to_string);
        let mut tables = tables.into_iter().flatten();
        tables.find_map(|table| inode(&table, own, other))
    });
    found.await.is_ok_and(|inode| inode == Some(0))
}

/// Returns the inode of the socket that is bound to `own` and connected to `other`.
fn inode(table: &str, own: SocketAddr, other: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = (fields.next()?, fields.next()?);
        let wanted = parse(found.0)? == own && parse(found.1)? == other;
        wanted.then(|| fields.nth(INODE_AFTER_ADDRESSES)?.parse().ok())?
    })
}

/// Parses an address of the table: words in the machine's byte order, a colon, a port.
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

/// State, queues, timer, retransmissions, user and timeout are in between.
const INODE_AFTER_ADDRESSES: usize = 6;

/// Only one task reads at a time, so that readers use one core at most.
static READER: Mutex<()> = Mutex::const_new(());

#[cfg(test)]
mod tests {
    use super::*;

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
}
