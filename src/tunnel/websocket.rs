//! The upgrade over a dialled stream, and frames in the words of this room.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{SplitSink, SplitStream};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
pub(super) use tokio_tungstenite::tungstenite::{Error as LibraryError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::error::Error;
use crate::network::{Network, Stream};
use crate::proto::Transmit;
use crate::session::Upgrade;

/// The half that sends.
pub(super) type Sink = SplitSink<WebSocketStream<Stream>, Message>;
/// The half that receives.
pub(super) type Source = SplitStream<WebSocketStream<Stream>>;

/// Dials and upgrades, within `timeout` for each.
pub(super) async fn connect(
    network: &Network,
    upgrade: Upgrade,
    timeout: Duration,
) -> Result<(Sink, Source), Error> {
    let stream = network.dial(upgrade.endpoint(), timeout).await?;
    let request = request(upgrade)?;
    let handshake = client_async_with_config(request, stream, Some(config()));
    match tokio::time::timeout(timeout, handshake).await {
        Ok(Ok((websocket, _))) => Ok(websocket.split()),
        Ok(Err(LibraryError::Http(response))) => Err(refused(&response)),
        Ok(Err(error)) => Err(Error::Broken(error.to_string())),
        Err(_) => {
            let why = format!("no answer to the upgrade within {} s", timeout.as_secs());
            Err(Error::Broken(why))
        }
    }
}

fn request(upgrade: Upgrade) -> Result<Request, Error> {
    let invalid = |error: &dyn std::fmt::Display| Error::Broken(format!("bad request: {error}"));
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
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_BODY)]);
    let text = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Error::Refused {
        status: response.status().as_u16(),
        text,
    }
}

/// What a frame holds for us.
pub(super) enum Frame {
    /// A message of the data channel, or what should be one.
    Data(Bytes),
    /// A sign of life.
    Pong,
    /// The service closes the websocket.
    Close(String),
}

impl From<Message> for Frame {
    fn from(message: Message) -> Self {
        match message {
            Message::Binary(bytes) => Self::Data(bytes),
            // Receivers take text frames as messages too (protocol.md section 2.3).
            Message::Text(text) => Self::Data(Bytes::from(text)),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Self::Pong,
            Message::Close(frame) => Self::Close(close_words(frame)),
        }
    }
}

fn close_words(frame: Option<CloseFrame>) -> String {
    match frame {
        None => "the service closed it without a code".to_owned(),
        Some(CloseFrame { code, reason }) => format!(
            "the service closed it with code {} {}",
            u16::from(code),
            reason.as_str()
        )
        .trim_end()
        .to_owned(),
    }
}

/// A frame of the core as the library wants it.
pub(super) fn message(transmit: Transmit) -> Message {
    match transmit {
        Transmit::Opening(text) => Message::Text(Utf8Bytes::from(text)),
        Transmit::Message(bytes) => Message::Binary(bytes),
    }
}

/// The ping of both references (protocol.md section 2.4).
pub(super) fn ping() -> Message {
    Message::Ping(Bytes::from_static(b"keepalive"))
}

/// Buffers of 16 KiB instead of 128: a daemon has many tunnels, most of them quiet. Messages of
/// an agent are of about a kilobyte; what is far beyond the largest that was ever seen
/// (protocol.md section 6.7) is not believed.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(16 * 1024)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// How much of a refusal is quoted.
const MAX_BODY: usize = 200;
