//! Tests of the simulator over real sockets, with a minimal client.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::*;
use crate::sim::agent::{self, SendRate};
use crate::sim::{ApiFault, Destination, EndedBy, Operation, Options, ServerKind, Simulator};
use crate::wire::message::{FIN, Header, Message, MessageId, MessageType, PayloadType, SYN, Seq};
use crate::wire::payload::{Acknowledge, ChannelClosed};

mod api;
mod channel;
mod faults;
mod http;
mod manual;
mod path_delays;
mod scheduled_faults;
mod session_end;

async fn simulator(options: Options) -> Simulator {
    Simulator::start(options).await.unwrap()
}

fn unpaced() -> Options {
    Options {
        agent: agent::Options {
            pace: SendRate::Unlimited,
            readiness: Duration::ZERO..Duration::ZERO,
            ..agent::Options::default()
        },
        ..Options::default()
    }
}

fn api_request(operation: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: AmazonSSM.{operation}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Calls the API; returns the status and the body.
async fn call(simulator: &Simulator, operation: &str, body: &Value) -> (u16, Value) {
    send(simulator, &api_request(operation, &body.to_string())).await
}

/// Sends a request with `Connection: close`; returns the status and the body.
async fn send(simulator: &Simulator, request: &str) -> (u16, Value) {
    let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    tcp.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// Waits for a condition that the simulator's tasks bring about.
async fn until(reached: impl Fn() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, wait)
        .await
        .expect("the condition is reached");
}

async fn start(simulator: &Simulator, port: u16) -> Value {
    let request = json!({
        "Target": "i-0123456789abcdef0",
        "DocumentName": "AWS-StartPortForwardingSession",
        "Parameters": { "portNumber": [port.to_string()] },
    });
    let (status, body) = call(simulator, "StartSession", &request).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// A session after its handshake, and its client.
async fn established(simulator: &Simulator, port: u16) -> (Value, Client) {
    let session = start(simulator, port).await;
    let mut client = Client::open(simulator, &session).await;
    client.shake_hands().await;
    (session, client)
}

async fn resume(simulator: &Simulator, session: &Value, next: u64) -> Client {
    let id = json!({ "SessionId": session["SessionId"] });
    let (status, resumed) = call(simulator, "ResumeSession", &id).await;
    assert_eq!(status, 200, "{resumed}");
    let mut client = Client::open(simulator, &resumed).await;
    client.next = next;
    client
}

/// Requests an upgrade; an error is the status of the rejection.
async fn upgrade(simulator: &Simulator, url: &str) -> Result<WebSocketStream<TcpStream>, u16> {
    let tcp = TcpStream::connect(simulator.address()).await.unwrap();
    match tokio_tungstenite::client_async(url, tcp).await {
        Ok((websocket, _)) => Ok(websocket),
        Err(tokio_tungstenite::tungstenite::Error::Http(refusal)) => Err(refusal.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// A client that acknowledges and stores the messages that it receives.
struct Client {
    websocket: WebSocketStream<TcpStream>,
    next: u64,
    acknowledges: bool,
}

impl Client {
    async fn open(simulator: &Simulator, session: &Value) -> Self {
        let url = session["StreamUrl"].as_str().unwrap();
        let mut client = Self {
            websocket: upgrade(simulator, url).await.unwrap(),
            next: 0,
            acknowledges: true,
        };
        client.present(&session["TokenValue"]).await;
        client
    }

    async fn present(&mut self, token: &Value) {
        let opening = json!({
            "MessageSchemaVersion": "1.0",
            "RequestId": "11111111-2222-4333-8444-555555555555",
            "TokenValue": token,
            "ClientVersion": "1.2.764.0",
        });
        let opening = Frame::text(opening.to_string());
        self.websocket.send(opening).await.unwrap();
    }

    async fn shake_hands(&mut self) {
        self.receive(PayloadType::HandshakeRequest).await;
        let response = json!({
            "ClientVersion": "1.2.764.0",
            "ProcessedClientActions": [{ "ActionType": "SessionType", "ActionStatus": 1 }],
        });
        let response = response.to_string();
        self.send(PayloadType::HandshakeResponse, response.as_bytes())
            .await;
        self.receive(PayloadType::HandshakeComplete).await;
    }

    /// Waits until the agent accepts data: retransmits a message until it is acknowledged.
    async fn ready(&mut self) {
        let seq = self.next;
        loop {
            self.next = seq;
            self.send(PayloadType::Size, b"probe").await;
            let pause = Duration::from_millis(5);
            let answer = tokio::time::timeout(pause, self.receive_acknowledgement_of(seq));
            if answer.await.is_ok() {
                return;
            }
        }
    }

    async fn send(&mut self, payload_type: PayloadType, payload: &[u8]) {
        self.feed(payload_type, payload).await;
        self.websocket.flush().await.unwrap();
    }

    /// Like `send`, but without a flush.
    async fn feed(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let message = message(MessageType::Input, self.next, 0, payload_type, payload);
        self.next += 1;
        self.websocket.feed(Frame::binary(message)).await.unwrap();
    }

    /// Waits for an acknowledgement; returns its number.
    async fn receive_acknowledgement(&mut self) -> u64 {
        loop {
            let message = self.next().await.expect("the websocket is open");
            if message.header.kind == MessageType::Acknowledge {
                return acknowledged(&message);
            }
        }
    }

    /// Waits until this number is acknowledged.
    async fn receive_acknowledgement_of(&mut self, seq: u64) {
        while self.receive_acknowledgement().await != seq {}
    }

    /// Waits for a payload of this type.
    async fn receive(&mut self, payload_type: PayloadType) -> Bytes {
        loop {
            let message = self.next().await.expect("the websocket is open");
            if message.header.payload_type == payload_type
                && message.header.kind == MessageType::Output
            {
                return message.payload;
            }
        }
    }

    /// Returns the next message, acknowledged unless disabled; `None` once the websocket is closed.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let received = tokio::time::timeout(TIMEOUT, self.websocket.next()).await;
            let frame = match received.expect("a message arrives, or the end")? {
                Ok(Frame::Binary(frame)) => frame,
                Ok(_) => continue,
                Err(_) => return None,
            };
            let message = Message::decode(frame).unwrap();
            if message.header.kind == MessageType::Output && self.acknowledges {
                let body = payload::encode(&Acknowledge {
                    kind: message.header.kind.to_string(),
                    id: message.header.id.to_string(),
                    seq: i64::try_from(message.header.seq.0).unwrap(),
                    sequential: true,
                });
                let frame = self::message(
                    MessageType::Acknowledge,
                    0,
                    SYN | FIN,
                    PayloadType::None,
                    &body,
                );
                self.websocket.send(Frame::binary(frame)).await.unwrap();
            }
            return Some(message);
        }
    }
}

fn message(
    kind: MessageType,
    seq: u64,
    flags: u64,
    payload_type: PayloadType,
    payload: &[u8],
) -> Bytes {
    let header = Header {
        kind,
        created: 1,
        seq: Seq(seq),
        flags,
        id: MessageId::from_random([3; 16]),
        payload_type,
    };
    Message {
        header,
        payload: Bytes::copy_from_slice(payload),
    }
    .encode()
}

fn acknowledged(message: &Message) -> u64 {
    let body = payload::decode_acknowledge(&message.payload).unwrap();
    u64::try_from(body.seq).unwrap()
}

/// Much longer than any operation takes; only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);
