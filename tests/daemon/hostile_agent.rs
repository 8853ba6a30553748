//! The memory of a daemon while agents send as much as they can, and its CPU time once they are
//! silent.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use ssm_proxyd::wire::message::{Message as Decoded, MessageType, PayloadType};
use ssm_proxyd::wire::smux::{Command, StreamId};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept_hdr};

use crate::support::daemon_process::{File, connect, free_address};
use crate::support::fake_api::Api;
use crate::support::message_builder;
use crate::support::process::{Process, ssm_proxyd};

/// The messages that an agent sends without end, once its channel is open.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flood {
    /// A gap, and large messages after it.
    Gap,
    /// The same, and the gap is closed at the end.
    ClosedGap,
    /// A gap, and messages without a byte after it.
    EmptyGap,
    /// Bytes for a client that does not read.
    Unread,
    /// One byte for such a client in each message of a megabyte.
    OneByte,
    /// More actions than any agent requests.
    Actions,
    /// Acknowledgements of messages that were never sent.
    Acknowledgements,
    /// The same message repeatedly; each copy must be acknowledged.
    Duplicates,
    /// Pauses of publication.
    Pauses,
}

use Flood::*;

const FLOODS: [Flood; 9] = [
    Gap,
    ClosedGap,
    EmptyGap,
    Unread,
    OneByte,
    Actions,
    Acknowledgements,
    Duplicates,
    Pauses,
];

/// Maximum number of bytes that each flood sends.
const FLOOD: usize = 96 << 20;

/// Maximum growth of the daemon's memory under all floods: 32 MiB of early messages for each of
/// three gaps, 8 MiB of unread bytes for each stream, and the overhead of allocators and buffers.
const MAX_GROWTH: u64 = 192 << 20;

#[test]
fn memory_under_hostile_agents_is_bounded_and_the_cpu_becomes_idle() {
    let gateway = message_builder::gateway(serve);
    let api = Api::by(move |operation, body| answer(gateway, operation, body));
    let http = free_address();
    let mut text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n[http]\nlisten = \"{http}\"\n\
         [shutdown]\ndrain_timeout = \"0s\"\n",
        api.endpoint()
    );
    for number in 0..FLOODS.len() {
        text += &format!(
            "[[forward]]\nname = \"f{number}\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{}\"\nremote = 1\n",
            target(number)
        );
    }
    let file = File::new(&text);
    let mut command = ssm_proxyd();
    let mut daemon = Process::start(command.args(["run", "--config"]).arg(file.path()));
    let addresses = FLOODS.map(|_| {
        let line = daemon.stderr.wait_for("destination");
        super::foreign_text::local_address(&line)
    });
    let before = resident(daemon.id());

    let clients = addresses.map(connect);
    for mut client in &clients {
        std::io::Write::write_all(&mut client, b"hello").unwrap();
    }
    let most = peak_memory_until_idle(daemon.id(), http);

    let growth = most.saturating_sub(before);
    println!("{before} bytes resident before, maximum growth {growth} bytes");
    assert!(growth < MAX_GROWTH, "the memory grew by {growth} bytes");
    drop(clients);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

/// Watches a daemon until it has used almost no CPU time for a while, for two minutes at most.
fn peak_memory_until_idle(id: u32, http: SocketAddr) -> u64 {
    let (mut most, mut quiet) = (0, 0);
    for _ in 0..240 {
        if quiet == 4 {
            return most;
        }
        let before = ticks(id);
        thread::sleep(Duration::from_millis(500));
        most = most.max(resident(id));
        // It answers other requests meanwhile.
        assert!(super::log_not_read::get(http, "/liveness").contains("200"));
        // A tick is 10 ms.
        quiet = if ticks(id) - before <= 5 {
            quiet + 1
        } else {
            0
        };
    }
    most
}

/// Resident memory of a process, in bytes (proc(5)).
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}

/// CPU time of a process, in ticks (proc(5)).
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, behind) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = behind.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn target(number: usize) -> String {
    format!("i-{number:017x}")
}

fn flood_of(text: &str) -> Option<(usize, Flood)> {
    let number = (0..FLOODS.len()).find(|number| text.contains(&target(*number)))?;
    Some((number, FLOODS[number]))
}

fn answer(gateway: SocketAddr, operation: &str, body: &str) -> (u16, String) {
    let Some((number, _)) = flood_of(body).filter(|_| operation == "StartSession") else {
        return (200, "{}".to_owned());
    };
    let answer = json!({
        "SessionId": format!("me-{number}"),
        "StreamUrl": format!("ws://{gateway}/v1/data-channel/{}", target(number)),
        "TokenValue": "token",
    });
    (200, answer.to_string())
}

#[expect(clippy::result_large_err, reason = "the library's own type")]
fn serve(stream: TcpStream) {
    // A daemon that refuses input ends a flood.
    let limit = Some(Duration::from_secs(5));
    stream.set_write_timeout(limit).unwrap();
    let mut flood = None;
    let upgraded = accept_hdr(
        stream,
        |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            flood = flood_of(request.uri().path());
            Ok(response)
        },
    );
    let Ok(mut websocket) = upgraded else { return };
    let Some((_, flood)) = flood else { return };
    let _refused = send_flood(&mut websocket, flood);
    // All that was sent is read, and the websocket stays open.
    drop(websocket.get_mut().read(&mut [0; 1 << 16]));
    thread::sleep(Duration::from_secs(300));
}

fn send_flood(websocket: &mut WebSocket<TcpStream>, flood: Flood) -> Result<(), Error> {
    websocket.read()?;
    if flood == Actions {
        let more = ",{}".repeat(300_000);
        return websocket.send(Message::Binary(message_builder::handshake_request(
            0,
            "3.3.987.0",
            &more,
        )));
    }
    websocket.send(Message::Binary(message_builder::handshake_request(
        0,
        "3.3.987.0",
        "",
    )))?;
    websocket.send(Message::Binary(message_builder::handshake_complete(1, "")))?;
    wait_for_stream(websocket)?;
    let mut sent = 0;
    let mut number = 0;
    while sent < FLOOD {
        let message = message(flood, number);
        sent += message.len();
        number += 1;
        websocket.send(Message::Binary(message))?;
    }
    if flood == ClosedGap {
        websocket.send(Message::Binary(message_builder::output(2, b"")))?;
    }
    Ok(())
}

/// Acknowledges messages until the bytes of the client have arrived.
fn wait_for_stream(websocket: &mut WebSocket<TcpStream>) -> Result<(), Error> {
    loop {
        let Message::Binary(frame) = websocket.read()? else {
            continue;
        };
        let Ok(received) = Decoded::decode(frame) else {
            continue;
        };
        if received.header.kind != MessageType::Input {
            continue;
        }
        let seq = i64::try_from(received.header.seq.0).unwrap();
        let acknowledgement = message_builder::acknowledge(&MessageType::Input, seq);
        websocket.send(Message::Binary(acknowledgement))?;
        let is_data = received.header.payload_type == PayloadType::Output;
        if is_data && received.payload.windows(5).any(|w| w == b"hello") {
            return Ok(());
        }
    }
}

/// Message `number` of a flood; 0 and 1 were the handshake.
fn message(flood: Flood, number: u64) -> Bytes {
    const STREAM: StreamId = StreamId(3);
    let block = [7; 60_000];
    let bytes = message_builder::frames(&[(Command::Psh, STREAM, &block)]);
    match flood {
        Gap | ClosedGap => message_builder::output(3 + number, &bytes),
        EmptyGap => message_builder::output(3 + number, b""),
        Unread => message_builder::output(2 + number, &bytes),
        OneByte => {
            let mut frames = vec![(Command::Psh, STREAM, &b"x"[..])];
            frames.extend([(Command::Psh, StreamId(99), &block[..]); 16]);
            message_builder::output(2 + number, &message_builder::frames(&frames))
        }
        Acknowledgements => message_builder::acknowledge(
            &MessageType::Input,
            i64::try_from(number).unwrap() + 1_000_000,
        ),
        Duplicates => message_builder::output(1, b""),
        Pauses => message_builder::publication(MessageType::PausePublication),
        Actions => unreachable!("this flood has no channel"),
    }
}
