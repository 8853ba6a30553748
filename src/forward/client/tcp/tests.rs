//! Tests with sockets of the kernel.

use std::io::{Read, Write};
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::*;

async fn accepted() -> (std::net::TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn a_client_that_can_disappear_is_probed() {
    for (client, idle) in [
        ("127.0.0.1", IDLE_ON_LOOPBACK),
        ("127.8.0.1", IDLE_ON_LOOPBACK),
        ("::1", IDLE_ON_LOOPBACK),
        ("::ffff:127.0.0.1", IDLE_ON_LOOPBACK),
        ("192.0.2.1", IDLE),
        ("2001:db8::1", IDLE),
        ("::ffff:192.0.2.1", IDLE),
    ] {
        let (_client, stream) = accepted().await;
        let address = SocketAddr::new(client.parse().unwrap(), 1);

        let socket = TcpSocket::of_peer(stream, TcpPeer::new(address, address)).unwrap();

        let socket = SockRef::from(&socket.stream);
        assert!(socket.keepalive().unwrap(), "{client}");
        assert_eq!(socket.tcp_keepalive_time().unwrap(), idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
    }
}

#[tokio::test]
async fn a_client_of_this_machine_whose_socket_is_known_is_not_probed() {
    let (_client, stream) = accepted().await;

    let socket = TcpSocket::new(stream).unwrap();

    assert!(!SockRef::from(&socket.stream).keepalive().unwrap());
}

#[tokio::test]
async fn a_close_without_waiting_delivers_every_byte_and_the_end() {
    let (mut client, stream) = accepted().await;
    let socket = TcpSocket::new(stream).unwrap();
    client.write_all(b"unread").unwrap();
    let mut written = 0;
    socket.stream.writable().await.unwrap();
    while let Ok(len) = socket.stream.try_write(&[7; 65_536]) {
        written += len;
    }

    socket.close_without_waiting();

    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), written);
}

#[tokio::test]
async fn a_client_that_sends_without_end_is_read_up_to_a_limit_and_gets_the_message() {
    let (mut client, stream) = accepted().await;
    let socket = TcpSocket::new(stream).unwrap();
    socket.stream.writable().await.unwrap();
    assert_eq!(socket.stream.try_write(b"message").unwrap(), 7);
    let mut closing = tokio::task::JoinSet::new();
    closing.spawn(socket.close_discarding(1 << 20));
    client.set_nonblocking(true).unwrap();
    let (mut sent, mut blocked) = (0, 0);
    // The buffers of both ends are full.
    while blocked < 50 {
        match client.write(&[7; 65_536]) {
            Ok(len) => (sent, blocked) = (sent + len, 0),
            Err(_) => blocked += 1,
        }
        sleep(Duration::from_millis(1)).await;
    }

    assert!(sent < 64 << 20, "{sent}");
    let mut received = [0; 100];
    assert_eq!(client.read(&mut received).unwrap(), 7);
    assert_eq!(client.read(&mut received).unwrap(), 0, "the end");
    closing.abort_all();
}

/// Fills the buffers of both ends.
async fn fill(socket: &TcpSocket) {
    let bytes = vec![0; 64 * 1024];
    let mut written = 0;
    while socket.peer.unacknowledged() == 0 || written < 1_000_000 {
        written += socket.stream.try_write(&bytes).unwrap_or_default();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_delivery_is_complete_when_the_client_has_everything() {
    for half_closed in [false, true] {
        let (mut client, stream) = accepted().await;
        let socket = TcpSocket::new(stream).unwrap();
        fill(&socket).await;
        if half_closed {
            client.shutdown(Shutdown::Write).unwrap();
        }
        let too_early = timeout(Duration::from_millis(50), socket.deliver()).await;
        assert!(too_early.is_err());

        let reading = std::thread::spawn(move || {
            let end = client.read_to_end(&mut Vec::new());
            (client, end.unwrap())
        });

        assert_eq!(socket.deliver().await, Delivery::Complete);
        assert!(reading.join().unwrap().1 >= 1_000_000);
    }
}

#[tokio::test]
async fn a_client_that_closes_with_unread_bytes_has_not_received_everything() {
    let (client, stream) = accepted().await;
    let socket = TcpSocket::new(stream).unwrap();
    fill(&socket).await;
    drop(client);

    assert_eq!(socket.deliver().await, Delivery::ClientClosed);
}

#[tokio::test]
async fn a_client_that_never_reads_is_left_to_the_kernel() {
    let (_client, stream) = accepted().await;
    let socket = TcpSocket::new(stream).unwrap();
    fill(&socket).await;

    let delivery = socket.deliver_within(Duration::from_millis(5)).await;

    assert_eq!(delivery, Delivery::LeftToKernel);
}

/// Simulates a client on another machine, or behind a packet filter.
#[tokio::test]
async fn a_reset_after_a_half_close_is_detected_wherever_the_client_is() {
    let (client, stream) = accepted().await;
    let mut socket = TcpSocket::new(stream).unwrap();
    let nowhere = "192.0.2.1:1".parse().unwrap();
    socket.peer = TcpPeer::new(nowhere, nowhere);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.read().await.unwrap(), b"");
    assert!(!socket.is_closed());

    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);

    assert!(socket.is_closed());
    assert_eq!(socket.read().await.unwrap(), b"", "the end stays an end");
}

#[tokio::test]
async fn an_urgent_byte_is_a_byte_like_any_other() {
    let (mut client, stream) = accepted().await;
    let socket = TcpSocket::new(stream).unwrap();
    client.write_all(b"be").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"hind").unwrap();
    client.shutdown(Shutdown::Write).unwrap();

    let mut received = Vec::new();
    loop {
        let bytes = socket.read().await.unwrap();
        if bytes.is_empty() {
            break;
        }
        received.extend(bytes);
    }

    assert_eq!(received, b"be!hind");
}

#[tokio::test]
async fn delivery_to_a_client_that_never_reads_is_left_to_the_kernel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    let socket = TcpSocket::new(listener.accept().await.unwrap().0).unwrap();
    let bytes = vec![0; 64 * 1024];
    let mut written = 0;
    // Until the buffers of both ends are full.
    while socket.peer.unacknowledged() == 0 || written < 1_000_000 {
        written += socket.stream.try_write(&bytes).unwrap_or_default();
        tokio::task::yield_now().await;
    }

    let finish = socket.close_with_interval(Duration::from_millis(1));
    let finished = timeout(Duration::from_secs(60), finish).await;

    assert_eq!(finished, Ok(()));
    drop(client);
}

#[tokio::test]
async fn a_delivery_after_both_ends_is_complete() {
    let (mut client, stream) = accepted().await;
    let socket = TcpSocket::new(stream).unwrap();
    socket.end_output().unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.read().await.unwrap(), b"");

    assert_eq!(socket.deliver().await, Delivery::Complete);
    socket.close_gracefully().await;
}

#[tokio::test]
async fn a_reset_that_was_noticed_by_a_check_is_not_read_as_an_end() {
    let (mut client, stream) = accepted().await;
    let socket = TcpSocket::new(stream).unwrap();
    client.write_all(b"upload").unwrap();
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    socket.failed().await;

    assert!(socket.is_closed());
    let read = async {
        while !socket.read().await?.is_empty() {}
        Ok::<_, io::Error>(())
    };
    let error = read.await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_after_the_end_of_a_client_does_not_hide_that_end() {
    let (mut client, stream) = accepted().await;
    let socket = TcpSocket::new(stream).unwrap();
    client.write_all(b"upload").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    socket.stream.writable().await.unwrap();
    socket.stream.readable().await.unwrap();
    socket.stream.try_write(b"unread").unwrap();
    // A close with unread bytes is a reset.
    client.peek(&mut [0]).unwrap();
    drop(client);
    socket.failed().await;

    assert_eq!(socket.read().await.unwrap(), b"upload");
    assert_eq!(socket.read().await.unwrap(), b"");
}
