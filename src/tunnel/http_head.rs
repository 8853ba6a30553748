//! A stream that limits its reader to the head of one HTTP response.
//!
//! ```text
//!   HTTP/1.1 101 …⏎ … ⏎⏎ │ frames
//!   for the reader       │ kept for `into_parts`
//! ```
//!
//! The reader of the head would otherwise buffer the frames that arrive with it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream at the beginning of a response.
#[derive(Debug)]
pub(super) struct ResponseHead<S> {
    stream: S,
    /// Bytes received together with the end of the head.
    rest: Vec<u8>,
    /// The line being read has no character yet.
    blank: bool,
    over: bool,
}

impl<S> ResponseHead<S> {
    /// Wraps a stream before the response.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            rest: Vec::new(),
            blank: false,
            over: false,
        }
    }

    /// Returns the stream, and the bytes read after the head.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.rest)
    }

    /// Returns how many of these bytes belong to the head.
    fn len_in(&mut self, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.blank => {
                    self.over = true;
                    return index + 1;
                }
                b'\n' => self.blank = true,
                b'\r' => {}
                _ => self.blank = false,
            }
        }
        bytes.len()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ResponseHead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
        let (_, new) = into.filled().split_at(before);
        let len = this.len_in(new);
        this.rest.extend_from_slice(&new[len..]);
        into.set_filled(before + len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ResponseHead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching\r\nA: b\r\n\r\nframes\r\n\r\n";
    const HEAD: usize = RESPONSE.len() - 10;

    #[tokio::test]
    async fn the_reader_gets_the_head_only_however_the_response_is_split() {
        for cut in 1..RESPONSE.len() {
            let (mut server, client) = tokio::io::duplex(RESPONSE.len());
            let mut head = ResponseHead::new(client);
            let mut seen = vec![0; 1000];

            server.write_all(&RESPONSE[..cut]).await.unwrap();
            let mut len = head.read(&mut seen).await.unwrap();
            server.write_all(&RESPONSE[cut..]).await.unwrap();
            while len < HEAD {
                len += head.read(&mut seen[len..]).await.unwrap();
            }

            assert_eq!(seen[..len], RESPONSE[..HEAD], "cut at {cut}");
            let (mut stream, mut rest) = head.into_parts();
            drop(server);
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, RESPONSE[HEAD..], "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn lines_may_end_without_a_carriage_return() {
        let mut head = ResponseHead::new(&b"HTTP/1.1 101 Switching\nA: b\n\nframes"[..]);
        let mut seen = [0; 1000];

        let len = head.read(&mut seen).await.unwrap();

        assert_eq!(&seen[len - 3..len], b"b\n\n");
        assert_eq!(head.into_parts().1, b"frames");
    }
}
