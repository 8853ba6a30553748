//! The server side of a client's websocket.
//!
//! The library answers pings as they are read. Messages that are fed together are flushed together.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::agent::End;
use super::messages;
use super::one_off_fault::DisconnectKind;
use super::tls_stream::Socket;

/// A websocket with its flush state.
#[derive(Debug)]
pub(super) struct Client {
    websocket: WebSocketStream<Socket>,
    unflushed: bool,
    broken: bool,
    /// Black hole: nothing is read or written.
    is_black_hole: bool,
}

/// Input from a client.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message of the data channel, in a binary or text frame.
    Message(Bytes),
    /// A ping, a pong, or a close frame that the library answers.
    Control,
    /// The websocket is closed; no further input.
    Gone,
}

impl Client {
    /// Takes over a connection after its upgrade; `early` holds bytes already read.
    pub(super) async fn new(socket: Socket, mut early: Vec<u8>, max_message: usize) -> Self {
        // All later read buffers have this size. Without spare capacity, the library would issue a
        // system call each for the header and the payload of every frame.
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
            is_black_hole: false,
        }
    }

    /// Returns the first message, if it is text and arrives within [`OPENING_TIMEOUT`].
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

    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        if self.is_black_hole {
            return Poll::Pending;
        }
        if self.broken {
            return Poll::Ready(Incoming::Gone);
        }
        let next = Pin::new(&mut self.websocket).poll_next(cx);
        next.map(|next| match next {
            Some(Ok(Frame::Binary(frame))) => Incoming::Message(frame),
            Some(Ok(Frame::Text(text))) => Incoming::Message(text.into()),
            Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_))) => {
                Incoming::Control
            }
            Some(Err(_)) | None => Incoming::Gone,
        })
    }

    /// Returns true if another message can be fed. A broken websocket accepts and loses everything.
    pub(super) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_black_hole {
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

    /// Queues a message; it is sent with the next flush, or earlier.
    pub(super) fn feed(&mut self, frame: Bytes) {
        if self.is_black_hole {
            return;
        }
        let fed = Pin::new(&mut self.websocket).start_send(Frame::Binary(frame));
        self.broken |= fed.is_err();
        self.unflushed = true;
    }

    /// Sends queued messages as far as the connection accepts them.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if !self.unflushed || self.broken || self.is_black_hole {
            return;
        }
        if let Poll::Ready(flushed) = Pin::new(&mut self.websocket).poll_flush(cx) {
            self.broken |= flushed.is_err();
            self.unflushed = false;
        }
    }

    /// Reports the end of the session, if it has ended, and closes with code 1000. Waits a while
    /// for the client to close, so that data in flight is not lost.
    pub(super) async fn close_normally(self, ended: Option<(&str, &End)>) {
        let reason = match ended {
            Some(_) => "",
            None => "replaced",
        };
        let notice =
            ended.map(|(session_id, end)| messages::channel_closed(session_id, &end.output));
        self.close(notice, CloseCode::Normal, reason).await;
    }

    /// Stops reading and writing without notifying the client.
    pub(super) fn blackhole(&mut self) {
        self.is_black_hole = true;
    }

    /// Returns true if the websocket is a black hole.
    pub(super) fn is_black_hole(&self) -> bool {
        self.is_black_hole
    }

    /// Keeps the connection open until the client closes it; reads and sends nothing.
    pub(super) async fn hold_open(mut self) {
        let socket = self.websocket.get_mut();
        while socket.is_open().await {
            // Unread data would make the socket ready again at once.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Breaks the websocket; queued messages that were not flushed are lost.
    pub(super) async fn disconnect(mut self, manner: DisconnectKind) {
        let socket = self.websocket.get_mut();
        match manner {
            DisconnectKind::Close(1006) | DisconnectKind::Fin => {
                drop(tokio::time::timeout(CLOSE_TIMEOUT, socket.finish()).await);
            }
            DisconnectKind::Close(code) => {
                let reason = if code == 1000 { "Bye" } else { "" };
                self.close(None, code.into(), reason).await;
            }
            DisconnectKind::Reset => socket.reset_on_drop(),
            DisconnectKind::BlackHole => {}
        }
    }

    /// Closes the websocket with a close code.
    pub(super) async fn close(mut self, last: Option<Bytes>, code: CloseCode, reason: &str) {
        let closing = async {
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
        // The result is irrelevant at this point.
        drop(tokio::time::timeout(CLOSE_TIMEOUT, closing).await);
    }
}

/// Time limit for the client's token.
const OPENING_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for the client to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval at which a silent connection is checked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
const READ_BUFFER: usize = 64 << 10;
const WRITE_BUFFER: usize = 64 << 10;
