//! A TCP connection: `SO_LINGER` of zero is the promise to be reset.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{LINGER, READ_BUFFER};
use crate::forward::peer::TcpPeer;

/// An accepted TCP socket.
#[derive(Debug)]
pub(in crate::forward) struct TcpSocket {
    stream: TcpStream,
    peer: TcpPeer,
}

impl TcpSocket {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let peer = TcpPeer::new(stream.local_addr()?, stream.peer_addr()?);
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
            // Made when there is something to read: an idle connection holds no buffer.
            let mut buffer = Vec::with_capacity(READ_BUFFER);
            match self.stream.try_read_buf(&mut buffer) {
                Ok(_) => return Ok(buffer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn is_gone(&self) -> bool {
        self.peer.is_gone().await
    }

    /// Closing with unread input would reset the client before it has read our last byte, so its
    /// input is taken for a while. A client that has not read everything yet has as long as it
    /// likes: the kernel would give up on it after some minutes.
    pub(super) async fn finish(self) {
        let socket = SockRef::from(&self.stream);
        let ended = socket
            .set_linger(None)
            .and_then(|()| socket.shutdown(Shutdown::Write));
        if ended.is_err() {
            return;
        }
        while timeout(LINGER, self.discard()).await.is_err() && self.peer.is_behind() {}
    }

    async fn discard(&self) {
        while let Ok(bytes) = self.read().await {
            if bytes.is_empty() {
                return;
            }
        }
    }
}
