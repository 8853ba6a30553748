//! Real sockets, half-closed, closed and gone.

use std::net::{Shutdown, TcpListener, TcpStream};

use socket2::{Domain, SockRef, Socket, Type};

use super::*;

/// A client, its accepted end, and the peer record.
struct Pair {
    client: TcpStream,
    accepted: TcpStream,
    peer: TcpPeer,
}

impl Pair {
    fn new(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self::accept(&listener, client)
    }

    fn accept(listener: &TcpListener, client: TcpStream) -> Self {
        let accepted = listener.accept().unwrap().0;
        let (local, address) = (accepted.local_addr(), accepted.peer_addr());
        let peer = TcpPeer::new(local.unwrap(), address.unwrap());
        Self {
            client,
            accepted,
            peer,
        }
    }
}

#[test]
fn only_a_fully_closed_client_counts_as_closed() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let pair = Pair::new(address);
        assert!(pair.peer.was_found, "{address}");

        pair.client.shutdown(Shutdown::Write).unwrap();
        assert!(!pair.peer.is_closed(), "{address}");

        let Pair {
            client,
            accepted,
            peer,
        } = pair;
        drop(client);
        assert!(peer.is_closed(), "{address}");
        drop(accepted);
    }
}

#[test]
fn a_client_of_an_ipv6_socket_may_reach_an_ipv4_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{port}").parse().unwrap();
    client.connect(&mapped.into()).unwrap();
    let pair = Pair::accept(&listener, client.into());

    pair.client.shutdown(Shutdown::Write).unwrap();
    assert!(!pair.peer.is_closed());
    let peer = pair.peer;
    drop(pair.client);

    assert!(peer.is_closed());
}

#[test]
fn a_client_whose_socket_has_disappeared_counts_as_closed() {
    let pair = Pair::new("127.0.0.1:0");
    let peer = pair.peer;

    // A reset removes the socket at once.
    SockRef::from(&pair.client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(pair.client);

    assert_eq!(sock_diag::find(peer.address, peer.local).unwrap(), None);
    assert!(peer.is_closed());
}

#[test]
fn a_client_whose_socket_was_never_found_does_not_count_as_closed() {
    let pair = Pair::new("127.0.0.1:0");
    // As if a packet filter had rewritten the port on the way.
    let elsewhere = SocketAddr::new(pair.peer.local.ip(), 1);
    let peer = TcpPeer::new(elsewhere, pair.peer.address);

    assert!(!peer.was_found);
    assert!(!peer.is_closed());
}

#[test]
fn clients_on_other_machines_cannot_be_checked() {
    let (local, address) = ("192.0.2.1:5432", "192.0.2.2:999");

    let peer = TcpPeer::new(local.parse().unwrap(), address.parse().unwrap());

    assert!(!peer.is_closed());
}

#[test]
fn bytes_are_unacknowledged_until_the_kernel_of_the_client_has_them() {
    use std::io::{Read, Write};

    let mut pair = Pair::new("127.0.0.1:0");
    assert!(pair.peer.unacknowledged() == 0);
    pair.accepted.set_nonblocking(true).unwrap();
    while pair.accepted.write(&[0; 65_536]).is_ok() {}

    assert!(pair.peer.unacknowledged() > 0);

    pair.accepted.shutdown(Shutdown::Write).unwrap();
    std::io::copy(&mut Read::by_ref(&mut pair.client), &mut std::io::sink()).unwrap();
    // The acknowledgement of the FIN may be delayed.
    while pair.peer.unacknowledged() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_peer_is_shown_by_its_address_or_its_process() {
    let address = "127.0.0.1:999".parse().unwrap();
    let tcp = Peer::Tcp(TcpPeer::new(address, address));
    let unix = |pid| Peer::Unix(Credentials { pid, uid: 1000 });

    assert_eq!(tcp.to_string(), "127.0.0.1:999");
    assert_eq!(unix(Some(17)).to_string(), "pid 17, uid 1000");
    assert_eq!(unix(None).to_string(), "uid 1000");
}
