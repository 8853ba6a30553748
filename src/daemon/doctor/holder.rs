//! Finds the processes that listen on a local address, in `/proc`.
//!
//! ```text
//!   /proc/net/tcp, tcp6, unix: address ─▶ inode     /proc/PID/fd/*: inode ─▶ process
//! ```
//!
//! A process of another user is visible to root only. Without `/proc` nothing is found.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::config::Listen;
use crate::printable::Printable;

/// A process that listens on an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    /// The name of its program; its arguments may contain secrets.
    pub(super) command: Printable,
}

/// Returns the visible processes that listen on an address. Blocks.
pub(super) fn holders(listen: &Listen) -> Vec<Holder> {
    let sockets: Vec<_> = match listen {
        Listen::Localhost(port) => {
            let loopbacks = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            let addresses = loopbacks.map(|ip: IpAddr| SocketAddr::new(ip, *port));
            addresses.iter().flat_map(tcp_sockets).collect()
        }
        Listen::Tcp(address) => tcp_sockets(address),
        Listen::Unix(path) => unix_sockets(path),
        Listen::Systemd(_) => Vec::new(),
    };
    let links: Vec<_> = sockets
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let mut found = Vec::new();
    if links.is_empty() {
        return found;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid.filter(|_| has_any(&entry.path(), &links)) {
            let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let command = Printable::new(&command);
            found.push(Holder { pid, command });
        }
    }
    found
}

/// Returns whether a process has one of these files open.
fn has_any(process: &Path, links: &[String]) -> bool {
    let files = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| links.iter().any(|link| target == Path::new(link)))
}

fn tcp_sockets(address: &SocketAddr) -> Vec<u64> {
    let table = match address {
        SocketAddr::V4(_) => "/proc/net/tcp",
        SocketAddr::V6(_) => "/proc/net/tcp6",
    };
    let table = fs::read_to_string(table).unwrap_or_default();
    let lines = table.lines().skip(1).filter_map(listening_socket);
    let conflicting = lines.filter(|(other, _)| conflicts(address, other));
    conflicting.map(|(_, inode)| inode).collect()
}

/// Returns the address and the inode of a line of `/proc/net/tcp`, if the socket listens.
fn listening_socket(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    if *state != LISTEN {
        return None;
    }
    let (ip, port) = address.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(address_of(ip)?, port), inode.parse().ok()?))
}

/// Parses an address in hexadecimal: words of 32 bits, each in the byte order of the machine.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |place: usize| {
        let digits = text.get(place * 8..place * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (place, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(place)?);
            }
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

fn conflicts(wanted: &SocketAddr, other: &SocketAddr) -> bool {
    let (a, b) = (wanted.ip(), other.ip());
    wanted.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// Returns the inodes of the listening Unix sockets at a path.
fn unix_sockets(path: &Path) -> Vec<u64> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let sockets = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.splitn(8, ' ').collect();
        let (flags, rest) = (fields.get(3)?, fields.get(6..)?.join(" "));
        let (inode, at) = rest.trim_start().split_once(' ')?;
        let is_listening = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
        let is_there = is_listening && Path::new(at) == path;
        inode.parse().ok().filter(|_| is_there)
    });
    sockets.collect()
}

/// The state of a listening TCP socket, and the flag of a listening Unix socket (`__SO_ACCEPTCON`).
const LISTEN: &str = "0A";
const ACCEPTS: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn own_pids(listen: &Listen) -> Vec<u32> {
        holders(listen).iter().map(|holder| holder.pid).collect()
    }

    #[test]
    fn the_holder_of_an_address_is_found() {
        let own = [std::process::id()];
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let bound = listener.local_addr().unwrap();

            assert_eq!(own_pids(&Listen::Tcp(bound)), own, "{address}");
            assert_eq!(own_pids(&Listen::Localhost(bound.port())), own, "{address}");
            drop(listener);
            assert_eq!(own_pids(&Listen::Tcp(bound)), [0; 0], "{address}");
        }
    }

    #[test]
    fn the_holder_of_a_wildcard_address_conflicts() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();

        let listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 9], port)));

        assert_eq!(own_pids(&listen), [std::process::id()]);
    }

    #[test]
    fn the_holder_of_a_unix_socket_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("with space.sock");
        let _listener = UnixListener::bind(&path).unwrap();

        let other = directory.path().join("other.sock");

        assert_eq!(own_pids(&Listen::Unix(path)), [std::process::id()]);
        assert_eq!(own_pids(&Listen::Unix(other)), [0; 0]);
    }

    #[test]
    fn damaged_lines_are_ignored() {
        for line in [
            "",
            "0: x",
            "0: 0100007F:1F90 0:0 0A",
            "0: 0100007F:1F90 0 0A 0 0 0 0 0 x",
        ] {
            assert_eq!(listening_socket(line), None, "{line}");
        }
    }
}
