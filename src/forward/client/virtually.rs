//! A connection in memory, for unit tests in virtual time. It behaves as a TCP connection of a client
//! on this machine: a plain close is a reset.

use std::io;
use std::net::SocketAddr;

use tokio::time::timeout;

use super::{CLOSE_TIMEOUT, READ_BUFFER};
use crate::forward::peer::TcpPeer;
use crate::virtual_net::{Address, Stream};

/// An accepted stream of the virtual network.
#[derive(Debug)]
pub(in crate::forward) struct VirtualSocket(Stream);

impl VirtualSocket {
    pub(super) fn new(stream: Stream) -> Self {
        stream.reset_on_drop(true);
        Self(stream)
    }

    pub(super) fn peer(&self) -> TcpPeer {
        let tcp = |address: &Address| address.tcp().unwrap_or(UNIX);
        TcpPeer::unseen(tcp(self.0.local()), tcp(self.0.peer()))
    }

    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        self.0.read(READ_BUFFER).await.map(Vec::from)
    }

    pub(super) async fn peek(&self) -> io::Result<usize> {
        self.0.peek().await.map(usize::from)
    }

    pub(super) async fn write(&self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data).await
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// As for TCP: input is discarded for a while, and longer as long as the client reads.
    pub(super) async fn close_gracefully(self) {
        self.0.reset_on_drop(false);
        self.0.finish();
        let mut unread = usize::MAX;
        while timeout(CLOSE_TIMEOUT, self.discard()).await.is_err() {
            match self.0.unread() {
                0 => return,
                now if now < unread => unread = now,
                // The kernel delivers the rest.
                _ => return,
            }
        }
    }

    pub(super) fn close_without_waiting(self) {
        self.0.reset_on_drop(false);
        self.0.finish();
        while self
            .0
            .try_read(READ_BUFFER)
            .is_ok_and(|bytes| !bytes.is_empty())
        {}
    }

    async fn discard(&self) {
        while let Ok(bytes) = self.read().await {
            if bytes.is_empty() {
                return;
            }
        }
    }
}

/// Stands for the address of a client of a Unix socket.
const UNIX: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
