//! The official client (session-manager-plugin) in basic mode, imitated by its behaviour.
//!
//! ```text
//!   local program ── TCP ──▶ OfficialClient ══ websocket ══▶ simulator ──▶ destination
//! ```
//!
//! It behaves like the official client in everything that matters to an agent (docs/protocol.md
//! sections 6, 7 and 9.2), its weaknesses included:
//!
//! - It opens its listener when HandshakeComplete arrives, and accepts one connection at a time.
//! - Until the first connection it drops all output without an acknowledgement.
//! - It never acknowledges a duplicate, and acknowledges output only once a local write succeeded.
//! - It re-sends the oldest unacknowledged message only.
//! - At the end of a local connection it sends DisconnectToPort and accepts the next one, in the
//!   same session. To end the session it sends TerminateSession and closes its socket at once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use socket2::SockRef;
use ssm_proxyd::sim::Simulator;
use ssm_proxyd::wire::message::{Message, MessageType, PayloadType};
use ssm_proxyd::wire::payload::{self, Flag, HandshakeRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::in_process::TARGET;
use super::message_builder;

/// A running client. Its tasks end with it.
#[derive(Debug)]
pub(crate) struct OfficialClient {
    /// The address it listens on.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    closed: watch::Receiver<Option<String>>,
    tasks: JoinSet<()>,
}

impl OfficialClient {
    /// Starts a session to a port of the target and returns once the client listens.
    pub(crate) async fn start(simulator: &Simulator, port: u16) -> Self {
        let session = start_session(simulator, port).await;
        let url = session["StreamUrl"].as_str().unwrap();
        let tcp = TcpStream::connect(simulator.address()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (websocket, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
        let (sink, stream) = websocket.split();
        let shared = Arc::new(Shared {
            sink: tokio::sync::Mutex::new(sink),
            state: Mutex::default(),
        });
        let opening = json!({
            "MessageSchemaVersion": "1.0",
            "RequestId": "11111111-2222-4333-8444-555555555555",
            "TokenValue": session["TokenValue"],
            "ClientId": "11111111-2222-4333-8444-666666666666",
            "ClientVersion": VERSION,
        });
        shared.send(Frame::text(opening.to_string())).await.unwrap();
        shared.send(Frame::Ping("keepalive".into())).await.unwrap();

        let (complete, completed) = oneshot::channel();
        let (close, closed) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(read_websocket(Arc::clone(&shared), stream, complete, close));
        tasks.spawn(resend(Arc::clone(&shared)));
        completed.await.expect("the handshake must complete");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(serve(Arc::clone(&shared), listener));
        Self {
            address,
            shared,
            closed,
            tasks,
        }
    }

    /// Does what Ctrl-C does: sends the flag and ends the process.
    pub(crate) async fn terminate(mut self) {
        let flag = Flag::TerminateSession.encode();
        self.shared
            .send_data(PayloadType::Flag, &flag)
            .await
            .unwrap();
        self.tasks.shutdown().await;
    }

    /// Waits for `channel_closed` and returns its text.
    pub(crate) async fn closed(&mut self) -> String {
        let closed = self.closed.wait_for(Option::is_some).await.unwrap();
        closed.clone().unwrap()
    }
}

#[derive(Debug)]
struct Shared {
    sink: tokio::sync::Mutex<SplitSink<WebSocketStream<TcpStream>, Frame>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the next message to the agent.
    next: u64,
    unacknowledged: VecDeque<Unacknowledged>,
    /// The number of the next message from the agent.
    expected: u64,
    early: BTreeMap<u64, Message>,
    /// The current or the last local connection. `None` before the first one.
    local: Option<Arc<TcpStream>>,
}

#[derive(Debug)]
struct Unacknowledged {
    seq: u64,
    frame: Bytes,
    /// Timer ticks since it was sent.
    ticks: u32,
}

impl Shared {
    async fn send(&self, frame: Frame) -> io::Result<()> {
        let mut sink = self.sink.lock().await;
        sink.send(frame).await.map_err(io::Error::other)
    }

    /// Sends the next sequenced message, and keeps it until it is acknowledged.
    async fn send_data(&self, payload_type: PayloadType, payload: &[u8]) -> io::Result<()> {
        let mut sink = self.sink.lock().await;
        let seq = self.state.lock().unwrap().next;
        // A weakness of the original: a single line feed becomes a carriage return.
        let payload = if payload == b"\n" { b"\r" } else { payload };
        let frame = message_builder::message(MessageType::Input, seq, payload_type, payload);
        let sent = sink.send(Frame::binary(frame.clone())).await;
        sent.map_err(io::Error::other)?;
        let mut state = self.state.lock().unwrap();
        let ticks = 0;
        let kept = Unacknowledged { seq, frame, ticks };
        state.unacknowledged.push_back(kept);
        state.next += 1;
        Ok(())
    }

    async fn acknowledge(&self, message: &Message) -> io::Result<()> {
        let seq = i64::try_from(message.header.seq.0).unwrap();
        let frame = message_builder::acknowledge(&MessageType::Output, seq);
        self.send(Frame::binary(frame)).await
    }

    /// Handles one output message in order. True if it was HandshakeComplete.
    async fn take(&self, message: Message) -> io::Result<bool> {
        let seq = message.header.seq.0;
        let expected = self.state.lock().unwrap().expected;
        if seq < expected {
            return Ok(false);
        }
        if seq > expected {
            self.acknowledge(&message).await?;
            self.state.lock().unwrap().early.insert(seq, message);
            return Ok(false);
        }
        let is_complete = message.header.payload_type == PayloadType::HandshakeComplete;
        match message.header.payload_type {
            PayloadType::HandshakeRequest => {
                self.acknowledge(&message).await?;
                self.respond(&message.payload).await?;
            }
            PayloadType::HandshakeComplete => self.acknowledge(&message).await?,
            PayloadType::None
            | PayloadType::Output
            | PayloadType::Size
            | PayloadType::HandshakeResponse
            | PayloadType::EncChallengeRequest
            | PayloadType::EncChallengeResponse
            | PayloadType::Flag
            | PayloadType::Other(_) => {
                self.write(&message.payload).await?;
                self.acknowledge(&message).await?;
            }
        }
        self.state.lock().unwrap().expected += 1;
        self.drain().await;
        Ok(is_complete)
    }

    /// Handles messages that arrived early. A failed write loses one, because it was acknowledged
    /// on arrival.
    async fn drain(&self) {
        loop {
            let message = {
                let mut state = self.state.lock().unwrap();
                let expected = state.expected;
                let Some(message) = state.early.remove(&expected) else {
                    return;
                };
                state.expected += 1;
                message
            };
            drop(self.write(&message.payload).await);
        }
    }

    async fn respond(&self, request: &[u8]) -> io::Result<()> {
        let request: HandshakeRequest = payload::decode(request).unwrap();
        assert_eq!(request.agent_version, BASIC_AGENT, "the mode must be basic");
        let actions: Vec<_> = request
            .requested_client_actions
            .iter()
            .map(|action| {
                json!({
                    "ActionType": action.action_type,
                    "ActionStatus": 1,
                    "ActionResult": null,
                    "Error": "",
                })
            })
            .collect();
        let response = json!({
            "ClientVersion": VERSION,
            "ProcessedClientActions": actions,
            "Errors": null,
        });
        let response = response.to_string();
        self.send_data(PayloadType::HandshakeResponse, response.as_bytes())
            .await
    }

    /// Writes to the current local connection, or to the last one.
    async fn write(&self, mut payload: &[u8]) -> io::Result<()> {
        let local = self.state.lock().unwrap().local.clone();
        let local = local.ok_or(io::ErrorKind::NotConnected)?;
        while !payload.is_empty() {
            local.writable().await?;
            match local.try_write(payload) {
                Ok(len) => payload = &payload[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn has_local(&self) -> bool {
        self.state.lock().unwrap().local.is_some()
    }
}

/// Reads what the gateway sends until the websocket or the session ends.
async fn read_websocket(
    shared: Arc<Shared>,
    mut stream: SplitStream<WebSocketStream<TcpStream>>,
    complete: oneshot::Sender<()>,
    close: watch::Sender<Option<String>>,
) {
    let mut complete = Some(complete);
    while let Some(Ok(frame)) = stream.next().await {
        let Frame::Binary(frame) = frame else {
            continue;
        };
        let message = Message::decode(frame).unwrap();
        match message.header.kind {
            // Once the session is known to be a port session, output needs a local connection.
            MessageType::Output if complete.is_none() && !shared.has_local() => {}
            MessageType::Output => {
                if matches!(shared.take(message).await, Ok(true)) {
                    complete.take().unwrap().send(()).unwrap();
                }
            }
            MessageType::Acknowledge => {
                let body = payload::decode_acknowledge(&message.payload).unwrap();
                let seq = u64::try_from(body.seq).unwrap();
                let mut state = shared.state.lock().unwrap();
                state.unacknowledged.retain(|kept| kept.seq != seq);
            }
            MessageType::ChannelClosed => {
                let body: Value = serde_json::from_slice(&message.payload).unwrap();
                let text = body["Output"].as_str().unwrap_or_default().to_owned();
                drop(close.send(Some(text)));
                return;
            }
            MessageType::Input
            | MessageType::StartPublication
            | MessageType::PausePublication
            | MessageType::AgentSessionState
            | MessageType::Other(_) => {}
        }
    }
}

/// At every tick, sends the oldest unacknowledged message again once its timeout is over.
async fn resend(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(TICK).await;
        let frame = {
            let mut state = shared.state.lock().unwrap();
            let Some(oldest) = state.unacknowledged.front_mut() else {
                continue;
            };
            oldest.ticks += 1;
            (oldest.ticks > TICKS_BEFORE_RESEND).then(|| oldest.frame.clone())
        };
        if let Some(frame) = frame {
            drop(shared.send(Frame::binary(frame)).await);
        }
    }
}

/// Serves one local connection after the other.
async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let (local, _) = listener.accept().await.unwrap();
        local.set_nodelay(true).unwrap();
        let local = Arc::new(local);
        shared.state.lock().unwrap().local = Some(Arc::clone(&local));
        if pump(&shared, &local).await.is_err() {
            return;
        }
        let flag = Flag::DisconnectToPort.encode();
        if shared.send_data(PayloadType::Flag, &flag).await.is_err() {
            return;
        }
        drop(SockRef::from(&*local).shutdown(Shutdown::Both));
    }
}

/// Carries the data of the local program. An error is one of the websocket.
async fn pump(shared: &Shared, local: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; PAYLOAD];
    loop {
        local.readable().await?;
        let len = match local.try_read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => return Ok(()),
            Ok(len) => len,
        };
        shared
            .send_data(PayloadType::Output, &buffer[..len])
            .await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn start_session(simulator: &Simulator, port: u16) -> Value {
    let body = json!({
        "Target": TARGET,
        "DocumentName": "AWS-StartPortForwardingSession",
        "Parameters": { "portNumber": [port.to_string()], "localPortNumber": ["0"] },
    });
    start_session_with(simulator, &body).await
}

/// Calls StartSession as the AWS CLI does, and returns the response.
pub(crate) async fn start_session_with(simulator: &Simulator, request: &Value) -> Value {
    let body = request.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: AmazonSSM.StartSession\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    tcp.read_to_string(&mut response).await.unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// The newest agent with which the official client uses basic mode.
pub(crate) const BASIC_AGENT: &str = "3.0.196.0";
/// The version of the client.
const VERSION: &str = "1.2.764.0";
/// Maximum number of bytes in a message.
const PAYLOAD: usize = 1024;
/// Interval of the retransmission check.
const TICK: Duration = Duration::from_millis(100);
/// The initial retransmission timeout, 200 ms.
const TICKS_BEFORE_RESEND: u32 = 2;
