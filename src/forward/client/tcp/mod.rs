//! A TCP connection. `SO_LINGER` of zero makes a plain close a reset.
//!
//! A client on another machine can disappear without FIN or RST. Keep-alive detects that, so that
//! it does not hold its connection, permit and session indefinitely. `TCP_USER_TIMEOUT` is not set:
//! on Linux it also ends connections whose client is alive but reads nothing for a while. The
//! kernel drops connections with unacknowledged bytes after about 15 minutes (`tcp_retries2`).

use std::future::pending;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{
    CLOSE_TIMEOUT, Delivery, FIRST_PAUSE, MAX_PAUSE, READ_BUFFER, take_urgent_bytes_as_others,
};
use crate::clock;
use crate::forward::peer::TcpPeer;

/// An accepted TCP socket.
#[derive(Debug)]
pub(in crate::forward) struct TcpSocket {
    stream: TcpStream,
    peer: TcpPeer,
    /// FIN was sent.
    is_finished: AtomicBool,
    /// The connection has failed before the end of the client. The kernel reports that once.
    is_lost: AtomicBool,
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
        Ok(Self {
            stream,
            peer,
            is_finished: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
        })
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
                Ok(0) if self.is_lost.load(Relaxed) => {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                Ok(_) => return Ok(buffer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns true if the client has closed both directions, or the connection has failed: a
    /// reset, or unanswered keep-alive, which no read reports after end of file.
    pub(super) fn is_closed(&self) -> bool {
        self.has_failed() || self.peer.is_closed()
    }

    /// Waits until the connection has failed. While bytes are unread, the socket stays readable, so
    /// there is nothing else to wait for.
    pub(super) async fn failed(&self) {
        let mut pause = FIRST_PAUSE;
        while !self.has_failed() {
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn has_failed(&self) -> bool {
        match self.stream.take_error() {
            Ok(None) => self.is_lost.load(Relaxed),
            // A reset after the end of the client: that end was no failure.
            Ok(Some(error)) if error.kind() == io::ErrorKind::BrokenPipe => true,
            Ok(Some(_)) | Err(_) => {
                self.is_lost.store(true, Relaxed);
                true
            }
        }
    }

    /// Ends the direction towards the client.
    ///
    /// # Errors
    ///
    /// If the connection has failed.
    pub(super) fn end_output(&self) -> io::Result<()> {
        // After both ends the kernel would report an error.
        if self.is_finished.load(Relaxed) {
            return Ok(());
        }
        SockRef::from(&self.stream).shutdown(Shutdown::Write)?;
        self.is_finished.store(true, Relaxed);
        Ok(())
    }

    /// Sends FIN, and waits until the client's kernel has acknowledged everything. What the client
    /// still sends is discarded.
    pub(super) async fn deliver(&self) -> Delivery {
        self.deliver_within(MAX_STALL).await
    }

    /// Like [`TcpSocket::deliver`]; gives up when nothing was acknowledged for `max_stall`.
    async fn deliver_within(&self, max_stall: Duration) -> Delivery {
        if self.finish().is_err() {
            return Delivery::ClientClosed;
        }
        let (mut left, mut since) = (u32::MAX, clock::now());
        let (mut pause, mut has_ended) = (FIRST_PAUSE, false);
        loop {
            match self.peer.unacknowledged() {
                0 => break,
                now if now < left => (left, since) = (now, clock::now()),
                _ if clock::since(since) >= max_stall => return Delivery::LeftToKernel,
                _ => {}
            }
            match has_ended {
                true => sleep(pause).await,
                false => match timeout(pause, self.discard()).await {
                    Ok(Ok(())) => has_ended = true,
                    Ok(Err(_)) => return Delivery::ClientClosed,
                    Err(_) => {}
                },
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
        // A socket that was reset has nothing to acknowledge either.
        match self.has_failed() {
            false => Delivery::Complete,
            true => Delivery::ClientClosed,
        }
    }

    /// Makes the close a reset, also after [`TcpSocket::deliver`].
    pub(super) fn reset_on_drop(&self) {
        // It fails on a socket that is closed already.
        let _closed = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn finish(&self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(None)?;
        self.end_output()
    }

    /// Closing with unread input would reset the client before it has read our last byte, so its
    /// input is discarded for a while. A client that has not read everything yet has an hour for
    /// its next bytes: the kernel alone would give up after some minutes.
    pub(super) async fn close_gracefully(self) {
        self.close_with_interval(CLOSE_TIMEOUT).await;
    }

    /// Like [`TcpSocket::close_gracefully`], checking for progress every `interval`.
    async fn close_with_interval(self, interval: Duration) {
        if self.finish().is_err() {
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
        if self.finish().is_err() {
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
        let ended = self.finish();
        let mut buffer = [0; 4096];
        let mut taken = 0;
        while ended.is_ok() && taken < MAX_DISCARDED {
            match self.stream.try_read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(len) => taken += len,
            }
        }
    }

    /// Discards input until end of file.
    async fn discard(&self) -> io::Result<()> {
        while !self.read().await?.is_empty() {}
        Ok(())
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

/// How long the client's kernel may acknowledge no byte before the delivery is left to the kernel.
const MAX_STALL: Duration = Duration::from_secs(3600);

/// Turns of [`CLOSE_TIMEOUT`] in which the client's kernel acknowledges no byte: one hour.
const MAX_STALLED: u32 = 720;

/// Idle time of a remote client before it is probed, probe interval, and number of unanswered
/// probes: it is dropped after two minutes.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_ON_LOOPBACK: Duration = Duration::from_secs(1);
const PROBE_INTERVAL: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;

#[cfg(test)]
mod tests;
