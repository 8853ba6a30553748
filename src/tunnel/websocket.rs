//! Websocket upgrade over a connected stream, and conversion of frames.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{SplitSink, SplitStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
pub(super) use tokio_tungstenite::tungstenite::{Error as LibraryError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::error::Error;
use super::http_head::ResponseHead;
use crate::network::{Network, NetworkStream};
use crate::printable::Printable;
use crate::proto::Transmit;
use crate::session::Upgrade;

pub(super) type WebSocketSink = SplitSink<WebSocketStream<NetworkStream>, Message>;
pub(super) type WebSocketSource = SplitStream<WebSocketStream<NetworkStream>>;
/// An item of the receiving half.
pub(super) type ReceivedItem = Result<Message, LibraryError>;

/// Connects and upgrades, within `timeout` for each.
pub(super) async fn connect(
    network: &Network,
    upgrade: Upgrade,
    timeout: Duration,
) -> Result<(WebSocketSink, WebSocketSource), Error> {
    let stream = network.dial(upgrade.endpoint(), timeout).await?;
    let proxy = network.proxy_for(upgrade.endpoint());
    let request = request(upgrade)?;
    let opened = tokio::time::timeout(timeout, open(stream, request)).await;
    let failure = match opened {
        Ok(Ok(websocket)) => return Ok(websocket.split()),
        Ok(Err(LibraryError::Http(response))) => refused(&response),
        Ok(Err(error)) => Error::broken(error),
        Err(_) => Error::broken(format_args!(
            "no response to the upgrade within {} s",
            timeout.as_secs()
        )),
    };
    Err(failure.through(proxy))
}

/// Upgrades a stream. The library's own websocket would keep the large read buffer of the HTTP
/// response, so a new websocket is created after the response.
async fn open<S>(stream: S, request: Request) -> Result<WebSocketStream<S>, LibraryError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = ResponseHead::new(stream);
    let upgraded = client_async_with_config(request, &mut head, Some(config())).await;
    let outcome = upgraded.map(|_| ());
    let (stream, mut rest) = head.into_parts();
    match outcome {
        Ok(()) => {
            rest.reserve(READ_BUFFER);
            let (role, config) = (Role::Client, Some(config()));
            Ok(WebSocketStream::from_partially_read(stream, rest, role, config).await)
        }
        Err(LibraryError::Http(mut response)) => {
            *response.body_mut() = Some(rest);
            Err(LibraryError::Http(response))
        }
        Err(error) => Err(error),
    }
}

fn request(upgrade: Upgrade) -> Result<Request, Error> {
    let invalid = |error: &dyn std::fmt::Display| {
        Error::Broken(Printable::of(format_args!(
            "invalid upgrade request: {error}"
        )))
    };
    let uri = upgrade.url.parse().map_err(|error| invalid(&error))?;
    let mut builder = ClientRequestBuilder::new(uri);
    for (name, value) in upgrade.headers {
        builder = builder.with_header(name, value);
    }
    builder
        .into_client_request()
        .map_err(|error| invalid(&error))
}

fn refused(response: &Response<Option<Vec<u8>>>) -> Error {
    let body = response.body().as_deref().unwrap_or_default();
    Error::Refused {
        status: response.status().as_u16(),
        text: Printable::from_bytes(body, MAX_BODY),
    }
}

/// A received frame, as far as it matters to a tunnel.
pub(super) enum Frame {
    /// A message of the data channel, not parsed yet.
    Data(Bytes),
    /// A response to a ping.
    Pong,
    /// A ping, which the library answers.
    Ping,
    /// Session Manager closes the websocket.
    Close(Printable),
}

impl From<Message> for Frame {
    fn from(message: Message) -> Self {
        match message {
            Message::Binary(bytes) => Self::Data(bytes),
            // Receivers accept text frames as messages too (docs/protocol.md, section 2.3).
            Message::Text(text) => Self::Data(Bytes::from(text)),
            Message::Pong(_) => Self::Pong,
            Message::Ping(_) | Message::Frame(_) => Self::Ping,
            Message::Close(frame) => Self::Close(close_reason(frame)),
        }
    }
}

fn close_reason(frame: Option<CloseFrame>) -> Printable {
    match frame {
        None => "Session Manager closed it without a code".into(),
        Some(CloseFrame { code, reason }) => Printable::of(format_args!(
            "Session Manager closed it with code {} {}",
            u16::from(code),
            reason.as_str()
        )),
    }
}

/// Converts a frame of the core to a message of the library.
pub(super) fn message(transmit: Transmit) -> Message {
    match transmit {
        Transmit::Opening(text) => Message::Text(Utf8Bytes::from(text)),
        Transmit::Message(bytes) => Message::Binary(bytes),
    }
}

/// Returns the ping that both reference clients send (docs/protocol.md, section 2.4).
pub(super) fn ping() -> Message {
    Message::Ping(Bytes::from_static(b"keepalive"))
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// Instead of 128 KiB: a daemon has many tunnels, most of them idle, and messages of an agent
/// have about a kilobyte.
const READ_BUFFER: usize = 16 * 1024;
const WRITE_BUFFER: usize = 16 * 1024;

/// Far above the largest message seen (docs/protocol.md, section 6.7); larger ones are rejected.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Maximum bytes quoted from the body of a rejection.
const MAX_BODY: usize = 200;

/// Returns a websocket with a buffer of a few bytes whose peer reads nothing, and the peer.
#[cfg(test)]
pub(super) async fn unread() -> (
    WebSocketStream<tokio::io::DuplexStream>,
    tokio::io::DuplexStream,
) {
    let (client, peer) = tokio::io::duplex(16);
    let websocket = WebSocketStream::from_raw_socket(client, Role::Client, Some(config())).await;
    (websocket, peer)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

    use super::*;
    use crate::printable::is_printable;

    #[tokio::test]
    async fn bytes_after_the_response_are_the_first_frame() {
        let (client, mut server) = tokio::io::duplex(4096);
        let opening = open(client, "ws://127.0.0.1/".into_client_request().unwrap());

        let answering = async {
            let mut response = accept(&mut server).await;
            response.extend(b"\x82\x05hello");
            server.write_all(&response).await.unwrap();
        };
        let (websocket, ()) = tokio::join!(opening, answering);

        let message = websocket.unwrap().next().await.unwrap().unwrap();
        assert_eq!(message, Message::Binary(Bytes::from_static(b"hello")));
    }

    #[tokio::test]
    async fn a_rejection_is_quoted() {
        let (client, mut server) = tokio::io::duplex(4096);
        let opening = open(client, "ws://127.0.0.1/".into_client_request().unwrap());

        let response = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nno\ntoken!";
        let answering = async { server.write_all(response).await.unwrap() };
        let (websocket, ()) = tokio::join!(opening, answering);

        let Err(LibraryError::Http(response)) = websocket else {
            panic!("{websocket:?}")
        };
        assert_eq!(
            refused(&response).to_string(),
            "Session Manager rejected the websocket upgrade: HTTP 403 (no token!)"
        );
    }

    #[test]
    fn the_reason_of_a_close_frame_is_quoted_in_one_line() {
        let reason = "no\u{1b}[2J\r\n2026-11-27T00:00:00Z  INFO forged\u{202e}";
        let frame = CloseFrame {
            code: 1008.into(),
            reason: reason.into(),
        };

        let Frame::Close(words) = Frame::from(Message::Close(Some(frame))) else {
            panic!("a close frame")
        };

        assert!(words.contains("1008 no"), "{words:?}");
        assert!(words.chars().all(is_printable), "{words:?}");
    }

    #[tokio::test]
    async fn frames_are_read_many_at_a_time() {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let counted = Counted {
            stream: client,
            reads: 0,
        };
        let opening = open(counted, "ws://127.0.0.1/".into_client_request().unwrap());
        let answering = async {
            let response = accept(&mut server).await;
            server.write_all(&response).await.unwrap();
        };
        let mut websocket = tokio::join!(opening, answering).0.unwrap();
        let before = websocket.get_ref().reads;

        let frame = [&b"\x82\x64"[..], &[0; 100]].concat();
        server.write_all(&frame.repeat(1000)).await.unwrap();
        for _ in 0..1000 {
            websocket.next().await.unwrap().unwrap();
        }

        let reads = websocket.get_ref().reads - before;
        assert!(reads <= 20, "{reads} reads for 100 KiB");
    }

    /// Reads a request; returns the matching response.
    async fn accept(server: &mut DuplexStream) -> Vec<u8> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(server.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .unwrap();
        let accept = derive_accept_key(key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes()
    }

    /// A stream that counts its reads.
    #[derive(Debug)]
    struct Counted {
        stream: DuplexStream,
        reads: usize,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            Pin::new(&mut self.stream).poll_read(cx, into)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, data)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}
