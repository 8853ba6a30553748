//! A remote side that puts control characters, line breaks, invisible characters and 32 KiB into
//! every text that it may send. None of it may reach a terminal, a log or a status unescaped.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::{Value, json};
use ssm_proxyd::printable::is_printable;
use ssm_proxyd::wire::message::{MessageType, PayloadType};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr};

use crate::support::daemon_process::{File, assert_reset, connect, free_address};
use crate::support::fake_api::Api;
use crate::support::message_builder;
use crate::support::process::{Process, ssm_proxyd};

/// The attack on the session of a forward, by the number of the forward.
#[derive(Clone, Copy, Debug)]
enum Attack {
    ApiError,
    ApiIsHtml,
    SessionId,
    StreamUrl,
    Upgrade,
    CloseReason,
    AgentVersion,
    SessionType,
    Unreadable,
    MessageType,
    Action,
    Notice,
    ChannelClosed,
}

use Attack::*;

const ATTACKS: [Attack; 13] = [
    ApiError,
    ApiIsHtml,
    SessionId,
    StreamUrl,
    Upgrade,
    CloseReason,
    AgentVersion,
    SessionType,
    Unreadable,
    MessageType,
    Action,
    Notice,
    ChannelClosed,
];

#[test]
fn text_from_the_remote_side_is_made_printable_in_log_and_status() {
    let gateway = message_builder::gateway(serve);
    for format in ["text", "json"] {
        let api = Api::by(move |operation, body| answer(gateway, operation, body));
        let http = free_address();
        let mut text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n[log]\nformat = \"{format}\"\n\
             [http]\nlisten = \"{http}\"\n[shutdown]\ndrain_timeout = \"0s\"\n\
             [defaults]\nconnect_timeout = \"2s\"\nresume_timeout = \"1s\"\n",
            api.endpoint()
        );
        for number in 0..ATTACKS.len() {
            text += &format!(
                "[[forward]]\nname = \"f{number}\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{}\"\nremote = 1\n",
                target(number)
            );
        }
        let file = File::new(&text);
        let mut command = ssm_proxyd();
        command.env("SSM_PROXYD_LOG", "trace");
        let mut daemon = Process::start(command.args(["run", "--config"]).arg(file.path()));
        // All are read before the first connection, whose lines contain an address too.
        let forwards = ATTACKS.map(|_| local_address(&daemon.stderr.wait_for("destination")));
        for address in forwards {
            assert_reset(connect(address));
        }

        for page in ["/status", "/metrics"] {
            let page = super::log_not_read::get(http, page);
            for line in page.lines() {
                assert_no_effect(line);
            }
        }
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code(), 0);
        let log = daemon.stderr.all();

        assert!(log.contains(MARK), "the text is quoted in part");
        for line in log.lines() {
            assert_no_effect(line);
            match format {
                "json" => drop(serde_json::from_str::<Value>(line).expect(line)),
                _ => assert!(line.starts_with("20"), "no timestamp: {line:?}"),
            }
        }
    }
}

/// The address in a line that reports where a forward listens, in either format.
pub(super) fn local_address(line: &str) -> SocketAddr {
    let (_, behind) = line.split_once("local_address").expect(line);
    let address = behind.trim_start_matches(['=', ':', '"']);
    let end = address.find([' ', '"']).unwrap_or(address.len());
    address[..end].parse().expect(line)
}

#[test]
fn connect_prints_remote_text_printable() {
    let gateway = message_builder::gateway(serve);
    let api = Api::by(move |operation, body| answer(gateway, operation, body));
    let children: Vec<Process> = (0..ATTACKS.len())
        .map(|number| {
            let mut command: Command = ssm_proxyd();
            command
                .args(["-v", "connect", &target(number)])
                .env("AWS_REGION", "us-east-1")
                .env("AWS_ENDPOINT_URL_SSM", api.endpoint())
                .env("SSM_PROXYD_CONFIG", "/dev/null");
            Process::start(&mut command)
        })
        .collect();

    for (mut child, attack) in children.into_iter().zip(ATTACKS) {
        // A websocket that breaks is dialled again until `connect_timeout`.
        if matches!(attack, Upgrade | CloseReason) {
            child.stderr.wait_for(MARK);
            child.signal("TERM");
        }
        assert_ne!(child.exit_code(), 0, "{attack:?}");
        let printed = child.stderr.all();
        assert!(printed.contains(MARK), "{attack:?}: {printed}");
        for line in printed.lines() {
            assert_no_effect(line);
        }
    }
}

fn assert_no_effect(line: &str) {
    assert!(line.chars().all(is_printable), "{line:?}");
    assert!(line.chars().count() < 20_000, "{} characters", line.len());
}

/// Every kind of character that must not be printed, and more text than is ever shown.
fn hostile() -> String {
    let begin = format!(
        "{MARK}\u{1b}[2J\u{1b}]0;title\u{7}\r\n{MARK}\n\u{7f}\u{9b}2J\u{85}\u{ad}\u{200b}\u{200e}\u{202e}\u{2028}\u{2029}\u{2066}\u{feff}\u{e0041}\t"
    );
    begin + &"A".repeat(1 << 15)
}

const MARK: &str = "FORGED";

/// As much of it as fits into the reason of a close frame.
fn short() -> String {
    hostile().chars().take(60).collect()
}

fn target(number: usize) -> String {
    format!("i-{number:017x}")
}

/// The attack on the forward that a text is about.
fn attack(text: &str) -> Option<(usize, Attack)> {
    let number = (0..ATTACKS.len()).find(|number| text.contains(&target(*number)))?;
    Some((number, ATTACKS[number]))
}

/// The response of the API.
fn answer(gateway: SocketAddr, operation: &str, body: &str) -> (u16, String) {
    let Some((number, attack)) = attack(body).filter(|_| operation == "StartSession") else {
        let error = json!({ "__type": short(), "message": hostile() });
        return (400, error.to_string());
    };
    let session = |id: &str, url: &str| {
        json!({ "SessionId": id, "StreamUrl": url, "TokenValue": "token" }).to_string()
    };
    let url = format!("ws://{gateway}/v1/data-channel/{}", target(number));
    match attack {
        ApiError => {
            let error = json!({ "__type": short(), "message": hostile(), "Message": hostile() });
            (400, error.to_string())
        }
        ApiIsHtml => (502, hostile()),
        SessionId => (200, session(&hostile(), &url)),
        StreamUrl => (200, session("me-0", &hostile())),
        Upgrade | CloseReason | AgentVersion | SessionType | Unreadable | MessageType | Action
        | Notice | ChannelClosed => (200, session(&format!("me-{number}"), &url)),
    }
}

#[expect(clippy::result_large_err, reason = "the library's own type")]
fn serve(stream: TcpStream) {
    let mut of_session = None;
    let upgraded = accept_hdr(stream, |request: &Request, response: Response| {
        of_session = attack(request.uri().path());
        match of_session {
            Some((_, Upgrade)) => {
                let mut refusal = ErrorResponse::new(Some(hostile()));
                *refusal.status_mut() = http::StatusCode::BAD_GATEWAY;
                Err(refusal)
            }
            Some(_) | None => Ok(response),
        }
    });
    let Ok(mut websocket) = upgraded else { return };
    let Some((_, attack)) = of_session else {
        return;
    };
    // The client may have disconnected at any time.
    let _gone = send_attack(&mut websocket, attack);
    while websocket.read().is_ok() {}
}

fn send_attack(
    websocket: &mut WebSocket<TcpStream>,
    attack: Attack,
) -> tokio_tungstenite::tungstenite::Result<()> {
    websocket.read()?;
    let escaped = serde_json::to_string(&hostile()).unwrap();
    let escaped = escaped.trim_matches('"');
    let mut send = |message| websocket.send(Message::Binary(message));
    match attack {
        AgentVersion => send(message_builder::handshake_request(0, escaped, ""))?,
        SessionType => {
            let request = json!({ "AgentVersion": "3.3.987.0", "RequestedClientActions": [{
                "ActionType": "SessionType",
                "ActionParameters": { "SessionType": hostile(), "Properties": { "type": short() } },
            }] });
            let request = request.to_string();
            let kind = PayloadType::HandshakeRequest;
            send(message_builder::message(
                MessageType::Output,
                0,
                kind,
                request.as_bytes(),
            ))?;
        }
        Unreadable => {
            let request =
                json!({ "AgentVersion": [hostile()], "RequestedClientActions": hostile() });
            let request = request.to_string();
            let kind = PayloadType::HandshakeRequest;
            send(message_builder::message(
                MessageType::Output,
                0,
                kind,
                request.as_bytes(),
            ))?;
        }
        MessageType => {
            let mut message = message_builder::channel_closed("").to_vec();
            message[4..36]
                .copy_from_slice(b"\x1b[2J\r\nFORGED\n\xe2\x80\xae\x1b]0;title\x07\x9b2J\xc2\x85 ");
            send(message.into())?;
            send(message_builder::channel_closed(&hostile()))?;
        }
        Action => {
            let more = format!(r#",{{"ActionType":"{escaped}","ActionParameters":{{}}}}"#);
            send(message_builder::handshake_request(0, "3.3.987.0", &more))?;
        }
        Notice => {
            send(message_builder::handshake_request(0, "3.3.987.0", ""))?;
            send(message_builder::handshake_complete(1, escaped))?;
            send(message_builder::channel_closed(""))?;
        }
        ChannelClosed => send(message_builder::channel_closed(&hostile()))?,
        ApiError | ApiIsHtml | SessionId | StreamUrl | Upgrade | CloseReason => {}
    }
    let mut reason = short();
    while reason.len() > 120 {
        reason.pop();
    }
    websocket.close(Some(CloseFrame {
        code: CloseCode::Policy,
        reason: reason.into(),
    }))?;
    websocket.get_mut().flush()?;
    Ok(())
}
