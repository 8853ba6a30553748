//! What a client of a Unix socket sees, and what is read from it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net;

use super::*;

fn pair() -> (net::UnixStream, UnixSocket) {
    let (client, accepted) = net::UnixStream::pair().unwrap();
    accepted.set_nonblocking(true).unwrap();
    let accepted = UnixStream::from_std(accepted).unwrap();
    (client, UnixSocket::new(accepted).unwrap())
}

async fn send(socket: &UnixSocket, words: &[u8]) {
    socket.stream.writable().await.unwrap();
    assert_eq!(socket.stream.try_write(words).unwrap(), words.len());
}

async fn read_to_end(socket: &UnixSocket) -> Vec<u8> {
    let mut received = Vec::new();
    loop {
        let bytes = socket.read().await.unwrap();
        if bytes.is_empty() {
            return received;
        }
        received.extend(bytes);
    }
}

#[tokio::test]
async fn every_byte_is_read_once() {
    let (mut client, socket) = pair();
    let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();

    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || {
            for (n, piece) in sent.chunks(977).enumerate() {
                let (front, back) = piece.split_at(n % piece.len());
                client.write_all(front).unwrap();
                client.write_all(back).unwrap();
            }
        }
    });

    assert!(read_to_end(&socket).await == sent);
    writer.join().unwrap();
}

#[tokio::test]
async fn single_bytes_are_read_when_they_arrive() {
    let (mut client, socket) = pair();

    for byte in 0..=255 {
        client.write_all(&[byte]).unwrap();
        assert_eq!(socket.read().await.unwrap(), [byte]);
    }
    drop(client);
    assert!(socket.read().await.unwrap().is_empty());
    assert!(socket.read().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_client_that_sent_bytes_sees_a_reset_after_the_last_byte() {
    for sent in [&b"x"[..], b"a longer question"] {
        let (mut client, socket) = pair();
        client.write_all(sent).unwrap();
        assert_eq!(socket.read().await.unwrap(), sent);
        send(&socket, b"half an answer").await;

        drop(socket);

        let mut received = Vec::new();
        let end = client.read_to_end(&mut received).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        assert_eq!(received, b"half an answer");
    }
}

#[tokio::test]
async fn a_half_closed_client_that_sent_bytes_sees_a_reset_too() {
    let (mut client, socket) = pair();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&socket).await, b"question");

    drop(socket);

    let end = client.read(&mut [0]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_whose_last_write_was_long_sees_no_reset() {
    let (mut client, socket) = pair();
    client.write_all(&[7; MAX_KEPT_WRITE + 1]).unwrap();
    socket.read().await.unwrap();

    drop(socket);

    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn a_graceful_close_is_an_end_of_file_whatever_the_client_sent() {
    let (mut client, socket) = pair();
    client.write_all(b"question").unwrap();
    socket.read().await.unwrap();
    client.write_all(b"and more that nobody reads").unwrap();
    send(&socket, b"answer").await;

    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        client.read_to_end(&mut received).map(|_| received)
    });
    socket.close_gracefully().await;

    assert_eq!(reader.join().unwrap().unwrap(), b"answer");
}

#[tokio::test]
async fn a_client_that_never_stops_sending_sees_an_end_of_file_too() {
    let (mut client, socket) = pair();
    client.write_all(b"question").unwrap();
    send(&socket, b"answer").await;

    socket.stream.readable().await.unwrap();
    socket.refuse();
    drop(socket);

    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"answer");
    assert_eq!(
        client.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}

#[tokio::test]
async fn only_a_fully_closed_client_counts_as_closed() {
    let (client, socket) = pair();

    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&socket).await, b"");
    assert!(!socket.is_closed().await);
    drop(client);

    while !socket.is_closed().await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_closes_without_reading_counts_as_closed_after_its_bytes() {
    let (mut client, socket) = pair();
    send(&socket, b"unread").await;
    client.write_all(b"words").unwrap();
    drop(client);

    assert_eq!(socket.read().await.unwrap(), b"words");
    assert!(matches!(socket.read().await.as_deref(), Ok([]) | Err(_)));
    assert!(socket.is_closed().await);
}

/// A kept byte holds the memory of its whole write, which counts against the client's buffer.
#[tokio::test]
async fn a_client_with_the_smallest_buffer_is_not_blocked_by_the_kept_byte() {
    let (client, socket) = pair();
    SockRef::from(&client).set_send_buffer_size(0).unwrap();
    let lengths = [1, MAX_KEPT_WRITE, 200, 1500, 2000, 5000, 1, 60_000, 3];
    let writer = std::thread::spawn(move || {
        let mut client = client;
        for len in lengths {
            for _ in 0..100 {
                client.write_all(&vec![7; len]).unwrap();
            }
        }
    });

    let received = read_to_end(&socket).await.len();
    assert_eq!(received, 100 * lengths.iter().sum::<usize>());
    writer.join().unwrap();
}

#[tokio::test]
async fn bytes_behind_a_file_descriptor_are_read() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;

    let (mut client, socket) = pair();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [client.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let words = [io::IoSlice::new(b"with")];
    sendmsg(&client, &words, &mut control, SendFlags::empty()).unwrap();
    client.write_all(b" and behind").unwrap();

    let mut received = socket.read().await.unwrap();
    while received.len() < b"with and behind".len() {
        received.extend(socket.read().await.unwrap());
    }

    assert_eq!(received, b"with and behind");
}

/// Sends bytes with a descriptor attached to them.
fn send_with_descriptor(client: &net::UnixStream, bytes: &[u8]) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;

    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [client.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let bytes = [io::IoSlice::new(bytes)];
    sendmsg(client, &bytes, &mut control, SendFlags::empty()).unwrap();
}

#[tokio::test]
async fn bytes_behind_a_one_byte_message_with_a_descriptor_are_read_before_the_end() {
    for close in [true, false] {
        let (mut client, socket) = pair();
        send_with_descriptor(&client, b"1");
        client.write_all(b"behind").unwrap();
        // The descriptor is the client's own socket: without this, it would keep it open.
        client.shutdown(Shutdown::Write).unwrap();
        if close {
            drop(client);
        }

        assert_eq!(read_to_end(&socket).await, b"1behind", "closed: {close}");
    }
}

#[tokio::test]
async fn many_one_byte_messages_with_descriptors_are_read_and_their_descriptors_are_closed() {
    let (client, socket) = pair();
    for _ in 0..100 {
        send_with_descriptor(&client, b"1");
    }
    client.shutdown(Shutdown::Write).unwrap();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();

    let before = open();
    assert_eq!(read_to_end(&socket).await, [b'1'; 100]);

    // Other tests of this process open descriptors meanwhile, but not a hundred.
    assert!(open() < before + 100);
}

#[tokio::test]
async fn an_urgent_byte_is_a_byte_like_any_other() {
    use rustix::net::{SendFlags, send};

    for kept in [&b""[..], b"a"] {
        let (mut client, socket) = pair();
        client.write_all(kept).unwrap();
        if !kept.is_empty() {
            assert_eq!(socket.read().await.unwrap(), kept);
        }
        match send(&client, b"!", SendFlags::OOB) {
            Err(error) => {
                return eprintln!("SKIPPED: this kernel knows no urgent bytes here: {error}");
            }
            Ok(sent) => assert_eq!(sent, 1),
        }
        client.write_all(b"behind").unwrap();
        client.shutdown(Shutdown::Write).unwrap();

        assert_eq!(read_to_end(&socket).await, b"!behind");
    }
}
