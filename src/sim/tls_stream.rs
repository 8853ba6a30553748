//! An accepted connection, plain or TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

#[cfg(test)]
use crate::virtual_net;

/// The stream for HTTP and websockets.
#[derive(Debug)]
pub(super) enum Socket {
    /// `http` and `ws`.
    Plain(TcpStream),
    /// `https` and `wss`.
    Tls(Box<TlsStream<TcpStream>>),
    /// In memory, in virtual time.
    #[cfg(test)]
    Virtual(virtual_net::Stream),
}

impl Socket {
    /// Returns true unless the peer has closed the connection, or it is broken.
    pub(super) async fn is_open(&mut self) -> bool {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0,
            #[cfg(test)]
            Self::Virtual(stream) => return !stream.is_ended(),
        };
        let ready = tcp.ready(Interest::READABLE).await;
        ready.is_ok_and(|ready| !ready.is_read_closed())
    }

    /// Makes the drop of the connection a reset.
    pub(super) fn reset_on_drop(&mut self) {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0,
            #[cfg(test)]
            Self::Virtual(stream) => return stream.reset_on_drop(true),
        };
        // Fails if the connection is already closed.
        drop(tcp.set_zero_linger());
    }

    /// Sends a TCP FIN, without a close frame and without the end of TLS, and waits for that of the
    /// peer: data that still arrives would otherwise be answered with a reset.
    ///
    /// # Errors
    ///
    /// Fails if the connection is broken.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0,
            #[cfg(test)]
            Self::Virtual(stream) => return finish(stream).await,
        };
        finish(tcp).await
    }
}

async fn finish(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
