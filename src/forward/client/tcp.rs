//! A TCP connection. `SO_LINGER` of zero makes a plain close a reset.
//!
//! A client on another machine can disappear without FIN or RST. Keep-alive detects that, so that
//! it does not hold its connection, permit and session indefinitely. `TCP_USER_TIMEOUT` is not set:
//! on Linux it also ends connections whose client is alive but reads nothing for a while. The
//! kernel drops connections with unacknowledged bytes after about 15 minutes (`tcp_retries2`).

use std::future::pending;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::{CLOSE_TIMEOUT, READ_BUFFER, take_urgent_bytes_as_others};
use crate::forward::peer::TcpPeer;

/// An accepted TCP socket.
#[derive(Debug)]
pub(in crate::forward) struct TcpSocket {
    stream: TcpStream,
    peer: TcpPeer,
}

impl TcpSocket {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        let (local, address) = (stream.local_addr()?, stream.peer_addr()?);
        Self::of_peer(stream, TcpPeer::new(local, address))
    }

    /// Sets the options of the socket, which depend on where the client is.
    fn of_peer(stream: TcpStream, peer: TcpPeer) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        take_urgent_bytes_as_others(&stream);
        probe(&stream, &peer)?;
        Ok(Self { stream, peer })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn peer(&self) -> TcpPeer {
        self.peer
    }

    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        loop {
            self.stream.readable().await?;
            // Allocated when there is something to read: an idle connection holds no buffer.
            let mut buffer = Vec::with_capacity(READ_BUFFER);
            match self.stream.try_read_buf(&mut buffer) {
                Ok(_) => return Ok(buffer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns true if the client has closed both directions, or the connection has failed: a
    /// reset, or unanswered keep-alive, which no read reports after end of file.
    pub(super) fn is_closed(&self) -> bool {
        let failed = !matches!(self.stream.take_error(), Ok(None));
        failed || self.peer.is_closed()
    }

    /// Closing with unread input would reset the client before it has read our last byte, so its
    /// input is discarded for a while. A client that has not read everything yet has an hour for
    /// its next bytes: the kernel alone would give up after some minutes.
    pub(super) async fn close_gracefully(self) {
        self.close_with_interval(CLOSE_TIMEOUT).await;
    }

    /// Like [`TcpSocket::close_gracefully`], checking for progress every `interval`.
    async fn close_with_interval(self, interval: Duration) {
        let socket = SockRef::from(&self.stream);
        let ended = socket
            .set_linger(None)
            .and_then(|()| socket.shutdown(Shutdown::Write));
        if ended.is_err() {
            return;
        }
        let (mut left, mut stalled) = (u32::MAX, 0);
        while timeout(interval, self.discard()).await.is_err() {
            match self.peer.unacknowledged() {
                0 => return,
                now if now < left => (left, stalled) = (now, 0),
                _ => stalled += 1,
            }
            if stalled >= MAX_STALLED {
                debug!(
                    "client does not read its final bytes; leaving their delivery to the kernel"
                );
                return;
            }
        }
    }

    /// Sends FIN and discards input, but at most `max` bytes; then the client's writes block. Returns
    /// when the client has closed, and never after that many bytes.
    pub(super) async fn close_discarding(self, mut max: usize) {
        let socket = SockRef::from(&self.stream);
        let ended = socket
            .set_linger(None)
            .and_then(|()| socket.shutdown(Shutdown::Write));
        if ended.is_err() {
            return;
        }
        while max > 0 {
            match self.read().await {
                Ok(bytes) if !bytes.is_empty() => max = max.saturating_sub(bytes.len()),
                Ok(_) | Err(_) => return,
            }
        }
        pending::<()>().await;
    }

    /// Closes without waiting. Unread input would cause a reset, so buffered input is discarded.
    pub(super) fn close_without_waiting(self) {
        let socket = SockRef::from(&self.stream);
        let ended = socket
            .set_linger(None)
            .and_then(|()| socket.shutdown(Shutdown::Write));
        let mut buffer = [0; 4096];
        let mut taken = 0;
        while ended.is_ok() && taken < MAX_DISCARDED {
            match self.stream.try_read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(len) => taken += len,
            }
        }
    }

    async fn discard(&self) {
        while let Ok(bytes) = self.read().await {
            if bytes.is_empty() {
                return;
            }
        }
    }
}

/// Enables keep-alive for a client that can disappear: one on another machine, or one whose
/// socket was not found at accept. The kernel of a client that is gone answers with a reset.
fn probe(stream: &TcpStream, peer: &TcpPeer) -> io::Result<()> {
    let idle = match (peer.is_loopback(), peer.is_known()) {
        (true, true) => return Ok(()),
        (true, false) => IDLE_ON_LOOPBACK,
        (false, _) => IDLE,
    };
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Limit of the input discarded without waiting: as much as the kernel buffers.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

/// Turns of [`CLOSE_TIMEOUT`] in which the client's kernel acknowledges no byte: one hour.
const MAX_STALLED: u32 = 720;

/// Idle time of a remote client before it is probed, probe interval, and number of unanswered
/// probes: it is dropped after two minutes.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_ON_LOOPBACK: Duration = Duration::from_secs(1);
const PROBE_INTERVAL: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;

#[cfg(test)]
mod tests {
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
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        assert!(sent < 64 << 20, "{sent}");
        let mut received = [0; 100];
        assert_eq!(client.read(&mut received).unwrap(), 7);
        assert_eq!(client.read(&mut received).unwrap(), 0, "the end");
        closing.abort_all();
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
}
