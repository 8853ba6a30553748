//! The service's end of a client's websocket.
//!
//! Pings are answered by the library as they are read. Messages that are fed together leave
//! together.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, Ready};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::agent::End;
use super::messages;
use super::one_off_fault::Manner;
use super::tls_stream::Socket;

/// A websocket and whether it must be flushed.
#[derive(Debug)]
pub(super) struct Client {
    websocket: WebSocketStream<Socket>,
    unflushed: bool,
    broken: bool,
    /// Nothing comes or goes any more.
    silent: bool,
}

/// What came from a client.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message of the data channel, in a binary or a text frame.
    Message(Bytes),
    /// A ping, a pong, or a close that the library answers.
    Control,
    /// Nothing will come any more.
    Gone,
}

impl Client {
    /// Takes over a connection behind its upgrade; `early` was read with it.
    pub(super) async fn new(socket: Socket, mut early: Vec<u8>, max_message: usize) -> Self {
        // All later read buffers are as large as this one. Without room in it, the library would
        // ask the system for the header and for the payload of every frame.
        early.reserve(READ_BUFFER);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let role = Role::Server;
        Self {
            websocket: WebSocketStream::from_partially_read(socket, early, role, Some(config))
                .await,
            unflushed: false,
            broken: false,
            silent: false,
        }
    }

    /// The first message, if it is text and comes in time.
    pub(super) async fn opening(&mut self) -> Option<Bytes> {
        tokio::time::timeout(OPENING_TIMEOUT, self.first())
            .await
            .ok()?
    }

    async fn first(&mut self) -> Option<Bytes> {
        loop {
            match self.websocket.next().await?.ok()? {
                Frame::Text(text) => return Some(text.into()),
                Frame::Ping(_) | Frame::Pong(_) => {}
                Frame::Binary(_) | Frame::Close(_) | Frame::Frame(_) => return None,
            }
        }
    }

    pub(super) fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        if self.silent {
            return Poll::Pending;
        }
        if self.broken {
            return Poll::Ready(Heard::Gone);
        }
        let next = Pin::new(&mut self.websocket).poll_next(cx);
        next.map(|next| match next {
            Some(Ok(Frame::Binary(frame))) => Heard::Message(frame),
            Some(Ok(Frame::Text(text))) => Heard::Message(text.into()),
            Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_))) => {
                Heard::Control
            }
            Some(Err(_)) | None => Heard::Gone,
        })
    }

    /// Whether another message can be fed. A broken websocket takes and loses everything.
    pub(super) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if self.silent {
            return true;
        }
        match Pin::new(&mut self.websocket).poll_ready(cx) {
            Poll::Ready(ready) => {
                self.broken |= ready.is_err();
                true
            }
            Poll::Pending => false,
        }
    }

    /// Takes a message; it leaves with the next flush, or earlier.
    pub(super) fn feed(&mut self, frame: Bytes) {
        if self.silent {
            return;
        }
        let fed = Pin::new(&mut self.websocket).start_send(Frame::Binary(frame));
        self.broken |= fed.is_err();
        self.unflushed = true;
    }

    /// Sends what was fed, as far as the connection takes it.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if !self.unflushed || self.broken || self.silent {
            return;
        }
        if let Poll::Ready(flushed) = Pin::new(&mut self.websocket).poll_flush(cx) {
            self.broken |= flushed.is_err();
            self.unflushed = false;
        }
    }

    /// Says why, if the session has ended, and closes with code 1000; waits a while for the
    /// client to go, so that nothing that is on its way is cut off.
    pub(super) async fn part(self, ended: Option<(&str, &End)>) {
        let reason = match ended {
            Some(_) => "",
            None => "replaced",
        };
        let notice =
            ended.map(|(session_id, end)| messages::channel_closed(session_id, &end.output));
        self.close(notice, CloseCode::Normal, reason).await;
    }

    /// From now on nothing comes or goes, and the other side is not told.
    pub(super) fn blackhole(&mut self) {
        self.silent = true;
    }

    /// Whether nothing comes or goes any more.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Keeps the connection until the client gives it up; reads nothing and says nothing.
    pub(super) async fn linger(mut self) {
        let tcp = self.websocket.get_mut().tcp();
        let is_there = |ready: Ready| !ready.is_read_closed();
        while tcp.ready(Interest::READABLE).await.is_ok_and(is_there) {
            // What came and is not read would make it ready at once, again and again.
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Breaks the websocket; what was fed and not flushed is lost.
    pub(super) async fn disconnect(mut self, manner: Manner) {
        let tcp = self.websocket.get_mut().tcp();
        match manner {
            Manner::Close(1006) | Manner::Fin => finish(tcp).await,
            Manner::Close(code) => {
                let reason = if code == 1000 { "Bye" } else { "" };
                self.close(None, code.into(), reason).await;
            }
            // It fails for a connection that is gone already.
            Manner::Reset => drop(tcp.set_zero_linger()),
            Manner::BlackHole => {}
        }
    }

    /// Closes with a code.
    pub(super) async fn close(mut self, last: Option<Bytes>, code: CloseCode, reason: &str) {
        let farewell = async {
            if let Some(last) = last {
                self.websocket.feed(Frame::Binary(last)).await?;
            }
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            self.websocket.send(Frame::Close(Some(frame))).await?;
            while self.websocket.next().await.transpose()?.is_some() {}
            Ok::<_, tokio_tungstenite::tungstenite::Error>(())
        };
        // Whether it was heard makes no difference any more.
        drop(tokio::time::timeout(FAREWELL, farewell).await);
    }
}

/// Ends TCP without a word, and waits for the other side to do so: what it still sends would
/// otherwise be answered with a reset.
async fn finish(tcp: &mut TcpStream) {
    let farewell = async {
        tcp.shutdown().await?;
        let mut rest = [0; 4096];
        while tcp.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    drop(tokio::time::timeout(FAREWELL, farewell).await);
}

/// How long a client may take to send its token.
const OPENING_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to close its side.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often one that hears nothing is looked at.
const LOOK: Duration = Duration::from_secs(1);
const READ_BUFFER: usize = 64 << 10;
const WRITE_BUFFER: usize = 64 << 10;
