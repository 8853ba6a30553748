//! The simulator over real sockets, with a bare client.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::*;
use crate::sim::agent::{self, Pace};
use crate::sim::{ApiFault, Destination, EndedBy, Operation, Options, Role, Simulator};
use crate::wire::message::{FIN, Header, Kind, Message, MessageId, PayloadType, SYN, Seq};
use crate::wire::payload::Acknowledge;

async fn simulator(options: Options) -> Simulator {
    Simulator::start(options).await.unwrap()
}

fn unpaced() -> Options {
    Options {
        agent: agent::Options {
            pace: Pace::Unlimited,
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

/// Calls the API; the status and the body.
async fn call(simulator: &Simulator, operation: &str, body: &Value) -> (u16, Value) {
    let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();
    let request = api_request(operation, &body.to_string());
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    tcp.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
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

/// Upgrades; an error is the status of the refusal.
async fn upgrade(simulator: &Simulator, url: &str) -> Result<WebSocketStream<TcpStream>, u16> {
    let tcp = TcpStream::connect(simulator.address()).await.unwrap();
    match tokio_tungstenite::client_async(url, tcp).await {
        Ok((websocket, _)) => Ok(websocket),
        Err(tokio_tungstenite::tungstenite::Error::Http(refusal)) => Err(refusal.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// A client that acknowledges what comes and keeps what it is told.
struct Client {
    websocket: WebSocketStream<TcpStream>,
    next: u64,
}

impl Client {
    async fn open(simulator: &Simulator, session: &Value) -> Self {
        let url = session["StreamUrl"].as_str().unwrap();
        let mut client = Self {
            websocket: upgrade(simulator, url).await.unwrap(),
            next: 0,
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
        let response = json!({
            "ClientVersion": "1.2.764.0",
            "ProcessedClientActions": [{ "ActionType": "SessionType", "ActionStatus": 1 }],
        });
        let response = response.to_string();
        self.say(PayloadType::HandshakeResponse, response.as_bytes())
            .await;
        self.hear(PayloadType::HandshakeComplete).await;
    }

    async fn say(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let message = message(Kind::Input, self.next, 0, payload_type, payload);
        self.next += 1;
        self.websocket.send(Frame::binary(message)).await.unwrap();
    }

    /// Waits for a payload of this type.
    async fn hear(&mut self, payload_type: PayloadType) -> Bytes {
        loop {
            let message = self.next().await.expect("the websocket is open");
            if message.header.payload_type == payload_type && message.header.kind == Kind::Output {
                return message.payload;
            }
        }
    }

    /// The next message, acknowledged; `None` when the websocket has closed.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let frame = match self.websocket.next().await? {
                Ok(Frame::Binary(frame)) => frame,
                Ok(_) => continue,
                Err(_) => return None,
            };
            let message = Message::decode(frame).unwrap();
            if message.header.kind == Kind::Output {
                let body = payload::encode(&Acknowledge {
                    kind: message.header.kind.to_string(),
                    id: message.header.id.to_string(),
                    seq: i64::try_from(message.header.seq.0).unwrap(),
                    sequential: true,
                });
                let frame =
                    self::message(Kind::Acknowledge, 0, SYN | FIN, PayloadType::None, &body);
                self.websocket.send(Frame::binary(frame)).await.unwrap();
            }
            return Some(message);
        }
    }
}

fn message(kind: Kind, seq: u64, flags: u64, payload_type: PayloadType, payload: &[u8]) -> Bytes {
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

#[tokio::test]
async fn bytes_travel_to_a_destination_and_back() {
    let simulator = simulator(unpaced()).await;
    let echo = Destination::start(Role::Echo).await.unwrap();
    let session = start(&simulator, echo.address().port()).await;
    let mut client = Client::open(&simulator, &session).await;
    client.shake_hands().await;

    let mut frames = vec![1, 0, 0, 0, 3, 0, 0, 0, 1, 2, 5, 0, 3, 0, 0, 0];
    frames.extend_from_slice(b"hello");
    let seq = client.next;
    loop {
        // Not acknowledged until the plugin is ready, so it is said until it is answered.
        client.next = seq;
        client.say(PayloadType::Output, &frames).await;
        let message = client.next().await.unwrap();
        if message.header.kind == Kind::Acknowledge && client_seq(&message) == 1 {
            break;
        }
    }
    let answer = client.hear(PayloadType::Output).await;

    assert_eq!(
        &answer[..],
        [&[1, 2, 5, 0, 3, 0, 0, 0][..], b"hello"].concat()
    );
    client.say(PayloadType::Flag, &[0, 0, 0, 2]).await;
    while client.next().await.is_some() {}
    let ledger = simulator.ledger();
    assert_eq!(ledger.open_sessions(), 0);
    assert_eq!(ledger.sessions[0].ended_by, Some(EndedBy::Flag));
    assert_eq!(ledger.sessions[0].violations.len(), 0);
    simulator.shutdown().await;
}

fn client_seq(message: &Message) -> i64 {
    payload::decode_acknowledge(&message.payload).unwrap().seq
}

#[tokio::test]
async fn terminate_reaches_the_client_and_ends_the_session() {
    let simulator = simulator(unpaced()).await;
    let session = start(&simulator, 9).await;
    let mut client = Client::open(&simulator, &session).await;
    client.shake_hands().await;
    let id = json!({ "SessionId": session["SessionId"] });

    assert_eq!(
        call(&simulator, "TerminateSession", &id).await,
        (200, id.clone())
    );
    let mut last = None;
    while let Some(message) = client.next().await {
        last = Some(message.header.kind);
    }

    assert_eq!(last, Some(Kind::ChannelClosed));
    assert_eq!(simulator.open_sessions(), 0);
    assert_eq!(call(&simulator, "TerminateSession", &id).await.0, 200);
    let (status, resumed) = call(&simulator, "ResumeSession", &id).await;
    assert_eq!((status, resumed["TokenValue"].as_str()), (200, Some("")));
    let url = session["StreamUrl"].as_str().unwrap();
    assert_eq!(upgrade(&simulator, url).await.unwrap_err(), 410);
}

#[tokio::test]
async fn a_second_websocket_with_a_new_token_replaces_the_first() {
    let simulator = simulator(unpaced()).await;
    let session = start(&simulator, 9).await;
    let mut first = Client::open(&simulator, &session).await;
    first.shake_hands().await;

    let id = json!({ "SessionId": session["SessionId"] });
    let (_, resumed) = call(&simulator, "ResumeSession", &id).await;
    let mut second = Client::open(&simulator, &resumed).await;
    second.next = first.next;
    second.say(PayloadType::Size, b"probe").await;

    assert_eq!(second.next().await.unwrap().header.kind, Kind::Acknowledge);
    while first.next().await.is_some() {}
    assert_eq!(simulator.ledger().sessions[0].attached, 2);
}

#[tokio::test]
async fn a_wrong_token_and_a_wrong_first_message_close_the_websocket() {
    let simulator = simulator(unpaced()).await;
    let session = start(&simulator, 9).await;
    let url = session["StreamUrl"].as_str().unwrap();

    let mut guess = Client {
        websocket: upgrade(&simulator, url).await.unwrap(),
        next: 0,
    };
    guess.present(&json!("guess")).await;
    let mut hasty = Client {
        websocket: upgrade(&simulator, url).await.unwrap(),
        next: 0,
    };
    hasty.say(PayloadType::Size, b"probe").await;

    assert!(guess.next().await.is_none());
    assert!(hasty.next().await.is_none());
    assert_eq!(simulator.ledger().sessions[0].attached, 0);
}

#[tokio::test]
async fn an_unknown_session_cannot_be_upgraded_or_resumed() {
    let simulator = simulator(unpaced()).await;
    let url = format!("ws://{}/v1/data-channel/nobody", simulator.address());

    assert_eq!(upgrade(&simulator, &url).await.unwrap_err(), 404);
    let (status, error) = call(
        &simulator,
        "ResumeSession",
        &json!({ "SessionId": "nobody" }),
    )
    .await;
    assert_eq!(
        (status, error["__type"].as_str()),
        (400, Some("DoesNotExistException"))
    );
    assert_eq!(simulator.ledger().refused_upgrades[&404], 1);
}

#[tokio::test]
async fn what_is_unsigned_is_refused_if_signatures_are_demanded() {
    let options = Options {
        require_signature: true,
        ..unpaced()
    };
    let simulator = simulator(options).await;

    let (status, error) = call(&simulator, "StartSession", &json!({})).await;

    assert_eq!(status, 403);
    assert_eq!(error["__type"], "MissingAuthenticationTokenException");
    let url = format!("ws://{}/v1/data-channel/nobody", simulator.address());
    assert_eq!(upgrade(&simulator, &url).await.unwrap_err(), 403);
}

#[tokio::test]
async fn requests_that_do_not_fit_are_told_why() {
    let target = "i-0123456789abcdef0";
    let document = "AWS-StartPortForwardingSession";
    let simulator = simulator(Options {
        offline: ["mi-0123456789abcdef0".to_owned()].into(),
        ..unpaced()
    })
    .await;
    let cases = [
        (json!({ "DocumentName": document }), "ValidationException"),
        (
            json!({ "Target": "", "DocumentName": document }),
            "ValidationException",
        ),
        (
            json!({ "Target": target, "DocumentName": "a b" }),
            "ValidationException",
        ),
        (
            json!({ "Target": target, "DocumentName": "Mine" }),
            "InvalidDocument",
        ),
        (json!({ "Target": target }), "InvalidDocument"),
        (
            json!({ "Target": "i-1", "DocumentName": document }),
            "TargetNotConnected",
        ),
        (
            json!({ "Target": "mi-0123456789abcdef0", "DocumentName": document }),
            "TargetNotConnected",
        ),
        (
            json!({ "Target": target, "DocumentName": document, "Parameters": { "portNumber": "1" } }),
            "SerializationException",
        ),
        (
            json!({ "Target": target, "DocumentName": document, "Parameters": { "portNumber": ["x"] } }),
            "InvalidParameters",
        ),
        (
            json!({ "Target": target, "DocumentName": document, "Parameters": { "host": ["db"] } }),
            "InvalidParameters",
        ),
        (json!([]), "SerializationException"),
    ];

    for (request, expected) in cases {
        let (status, error) = call(&simulator, "StartSession", &request).await;

        assert_eq!(
            (status, error["__type"].as_str()),
            (400, Some(expected)),
            "{request}: {error}"
        );
    }
    assert_eq!(
        call(&simulator, "Nonsense", &json!({})).await.1["__type"],
        "UnknownOperationException"
    );
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test]
async fn an_injected_error_strikes_as_often_as_asked() {
    let simulator = simulator(unpaced()).await;
    let fault = ApiFault {
        code: "ThrottlingException".to_owned(),
        times: Some(1),
    };
    simulator.fail(Operation::StartSession, fault);

    let (status, error) = call(&simulator, "StartSession", &json!({})).await;
    start(&simulator, 9).await;

    assert_eq!(
        (status, error["__type"].as_str()),
        (400, Some("ThrottlingException"))
    );
    assert_eq!(simulator.ledger().outcomes["ThrottlingException"], 1);
}

#[tokio::test]
async fn the_ledger_is_served_as_json() {
    let simulator = simulator(unpaced()).await;
    start(&simulator, 9).await;
    let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();

    let request = "GET /simulator/ledger HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    tcp.read_to_string(&mut response).await.unwrap();

    let ledger: Value = serde_json::from_str(response.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(ledger["sessions"][0]["target"], "i-0123456789abcdef0");
    assert_eq!(ledger["sessions"][0]["start_signature"], "unsigned");
}

#[tokio::test]
async fn every_reply_leaves_in_one_write() {
    let simulator = simulator(unpaced()).await;
    for vectored in [true, false] {
        for request in [
            api_request(
                "StartSession",
                r#"{"Target":"i-0123456789abcdef0","DocumentName":"AWS-StartSSHSession"}"#,
            ),
            api_request("StartSession", "{}"),
            "GET /simulator/ledger HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            "GET /v1/data-channel/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        ] {
            let (mut near, far) = tokio::io::duplex(1 << 20);
            let writes = Arc::new(AtomicUsize::new(0));
            let counting = Counting {
                io: far,
                writes: Arc::clone(&writes),
                vectored,
            };

            let serve = serve(Arc::clone(&simulator.service), TokioIo::new(counting));
            near.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            let (served, read) = tokio::join!(serve, near.read_to_string(&mut response));

            served.unwrap();
            assert!(read.unwrap() > 0);
            assert_eq!(writes.load(Ordering::Relaxed), 1, "{request}");
        }
    }
}

/// Counts the writes of a connection.
struct Counting {
    io: tokio::io::DuplexStream,
    writes: Arc<AtomicUsize>,
    vectored: bool,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        b: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, b)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        Pin::new(&mut self.io).poll_write(cx, &joined)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
