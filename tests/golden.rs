//! Bytes of the reference implementation are decoded to their fields and encoded again.
//!
//! The files of `golden/` are written by an encoder that shares no code with ours
//! (`golden/make.py`), checked against the values that docs/protocol.md publishes. Each begins with
//! its source.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ssm_proxyd::wire::message::{
    FIN, Header, Message, MessageId, MessageType, PayloadType, SYN, Seq,
};
use ssm_proxyd::wire::payload::{
    self, ACTION_SUCCESS, Acknowledge, ChannelClosed, Flag, HandshakeComplete, HandshakeRequest,
    HandshakeResponse, JsonKeys, OpenDataChannel, ProcessedAction, RequestedAction, SCHEMA_VERSION,
    SessionType,
};
use ssm_proxyd::wire::smux::{self, Command, Decoder, FrameEvent, StreamId};

#[test]
fn every_golden_message_decodes_to_its_fields() {
    for (name, message) in messages() {
        assert_eq!(Message::decode(golden(name)), Ok(message), "{name}");
    }
}

#[test]
fn every_message_encodes_to_its_golden_bytes() {
    for (name, message) in messages() {
        assert_eq!(message.encode(), golden(name), "{name}");
    }
}

#[test]
fn every_message_type_has_a_golden_message() {
    for kind in [
        MessageType::Input,
        MessageType::Output,
        MessageType::Acknowledge,
        MessageType::ChannelClosed,
        MessageType::StartPublication,
        MessageType::PausePublication,
        MessageType::AgentSessionState,
        MessageType::Other("data_channel_ready".to_owned()),
    ] {
        let found = messages().any(|(_, message)| message.header.kind == kind);

        assert!(found, "{kind}");
    }
}

#[test]
fn the_reference_acknowledgement_is_encoded_and_decoded() {
    let body = Acknowledge {
        kind: "output_stream_data".to_owned(),
        id: ID.to_owned(),
        seq: 5,
        sequential: true,
    };

    assert_eq!(golden("payload_acknowledge").len(), 176);
    let read = payload::decode_acknowledge(&golden("payload_acknowledge")).unwrap();
    assert_eq!(read.seq, body.seq);
    assert_both_ways("payload_acknowledge", &body);
}

/// The agent's order of keys within `ActionParameters` is not kept: it is a JSON value here. No
/// reader depends on the order.
#[test]
fn the_handshake_request_of_a_real_agent_is_decoded() {
    let parameters = SessionType {
        session_type: "Port".to_owned(),
        properties: json!({
            "localPortNumber": "0", "portNumber": "9001", "type": "LocalPortForwarding",
        })
        .as_object()
        .unwrap()
        .clone(),
    };
    let body = HandshakeRequest {
        agent_version: "3.3.0.0".to_owned(),
        requested_client_actions: vec![RequestedAction {
            action_type: "SessionType".to_owned(),
            action_parameters: serde_json::to_value(&parameters).unwrap(),
        }],
    };

    let read: HandshakeRequest = payload::decode(&golden("payload_handshake_request")).unwrap();
    let written: Value = serde_json::from_slice(&payload::encode(&body)).unwrap();
    let expected: Value = serde_json::from_slice(&golden("payload_handshake_request")).unwrap();

    assert_eq!(read, body);
    assert_eq!(written, expected);
}

#[test]
fn the_handshake_response_is_the_one_agents_accept() {
    let body = HandshakeResponse {
        client_version: "1.2.764.0".to_owned(),
        processed_client_actions: vec![ProcessedAction {
            action_type: "SessionType".to_owned(),
            action_status: ACTION_SUCCESS,
            action_result: Value::Null,
            error: String::new(),
        }],
        errors: None,
    };

    assert_both_ways("payload_handshake_response", &body);
}

#[test]
fn handshake_complete_is_decoded_and_encoded() {
    let body = HandshakeComplete {
        handshake_time_to_complete: 12_345_678,
        customer_message: String::new(),
    };

    assert_both_ways("payload_handshake_complete", &body);
}

#[test]
fn channel_closed_is_decoded_and_encoded() {
    let body = ChannelClosed {
        message_id: ID.to_owned(),
        created_date: "2017-08-22T20:37:54.948Z".to_owned(),
        destination_id: "client-0123".to_owned(),
        session_id: "user-0123456789abcdef0".to_owned(),
        message_type: "channel_closed".to_owned(),
        schema_version: 1,
        output: "Port number is empty in session properties.".to_owned(),
    };

    assert_both_ways("payload_channel_closed", &body);
}

#[test]
fn open_data_channel_is_decoded_and_encoded() {
    let body = OpenDataChannel {
        message_schema_version: SCHEMA_VERSION.to_owned(),
        request_id: ID.to_owned(),
        token_value: "a-token-that-opens-nothing".to_owned(),
        client_id: "7f1e54b4-5e3c-4a55-9d2a-1c7f0f7d9a11".to_owned(),
        client_version: "1.2.764.0".to_owned(),
    };
    let golden = golden("payload_open_data_channel");

    let read: OpenDataChannel = payload::decode(&golden).unwrap();

    assert!(read.token_value == body.token_value && read.client_id == body.client_id);
    assert!(read.client_version == body.client_version && read.request_id == body.request_id);
    assert!(read.message_schema_version == body.message_schema_version);
    assert_eq!(payload::encode(&body), golden);
}

#[test]
fn every_flag_is_its_four_bytes() {
    for (name, flag) in [
        ("flag_disconnect_to_port", Flag::DisconnectToPort),
        ("flag_terminate_session", Flag::TerminateSession),
        ("flag_connect_to_port_error", Flag::ConnectToPortError),
        ("flag_other", Flag::Other(0x0102_0304)),
    ] {
        assert_eq!(Flag::decode(&golden(name)), Some(flag), "{name}");
        assert_eq!(flag.encode(), golden(name)[..], "{name}");
    }
}

#[test]
fn the_example_frames_are_decoded_and_encoded() {
    let three = StreamId(3);
    let hello = Bytes::from_static(b"hello");
    for (name, header, piece) in [
        (
            "frame_syn",
            smux::Header::bare(Command::Syn, three),
            Some(FrameEvent::Open(three)),
        ),
        (
            "frame_psh",
            smux::Header::push(three, 5),
            Some(FrameEvent::Data(three, hello)),
        ),
        (
            "frame_fin",
            smux::Header::bare(Command::Fin, three),
            Some(FrameEvent::Finish(three)),
        ),
        (
            "frame_nop",
            smux::Header::bare(Command::Nop, StreamId(0)),
            None,
        ),
    ] {
        let golden = golden(name);
        let mut decoder = Decoder::new();
        decoder.push(golden.clone());

        assert_eq!(decoder.poll(), Ok(piece), "{name}");
        assert_eq!(decoder.poll(), Ok(None), "{name}");
        assert_eq!(header.encode(), golden[..smux::Header::LEN], "{name}");
    }
}

/// The golden messages, each with its fields.
fn messages() -> impl Iterator<Item = (&'static str, Message)> {
    use PayloadType::{HandshakeRequest as Request, None as Empty};

    let flag = (0x0102_0304_0506_0708, FIN, PayloadType::Flag);
    let request = golden("payload_handshake_request");
    let closed = golden("payload_channel_closed");
    let state =
        br#"{"SchemaVersion":1,"SessionState":"Connected","SessionId":"user-0123456789abcdef0"}"#;
    let other = MessageType::Other("data_channel_ready".to_owned());
    [
        (
            "message_input",
            MessageType::Input,
            (0, 0, PayloadType::Output),
            bytes(b"payload"),
        ),
        (
            "message_acknowledge",
            MessageType::Acknowledge,
            (0, SYN | FIN, Empty),
            golden("payload_acknowledge"),
        ),
        (
            "message_flag",
            MessageType::Input,
            flag,
            bytes(&[0, 0, 0, 2]),
        ),
        (
            "message_output",
            MessageType::Output,
            (0, SYN, Request),
            request,
        ),
        (
            "message_channel_closed",
            MessageType::ChannelClosed,
            (0, 0, Empty),
            closed,
        ),
        (
            "message_start_publication",
            MessageType::StartPublication,
            (0, 0, Empty),
            bytes(b""),
        ),
        (
            "message_pause_publication",
            MessageType::PausePublication,
            (0, 0, Empty),
            bytes(b""),
        ),
        (
            "message_agent_session_state",
            MessageType::AgentSessionState,
            (0, SYN | FIN, Empty),
            bytes(state),
        ),
        ("message_other", other, (0, 0, Empty), bytes(b"{}")),
    ]
    .into_iter()
    .map(|(name, kind, (seq, flags, payload_type), payload)| {
        let header = Header {
            kind,
            created: 1_503_434_274_948,
            seq: Seq(seq),
            flags,
            id: MessageId::from(ID.parse::<uuid::Uuid>().unwrap()),
            payload_type,
        };
        (name, Message { header, payload })
    })
}

fn bytes(text: &'static [u8]) -> Bytes {
    Bytes::from_static(text)
}

#[track_caller]
fn assert_both_ways<T>(name: &str, body: &T)
where
    T: DeserializeOwned + Serialize + JsonKeys + PartialEq + std::fmt::Debug,
{
    assert_eq!(
        &payload::decode::<T>(&golden(name)).unwrap(),
        body,
        "{name}"
    );
    assert_eq!(payload::encode(body), golden(name), "{name}");
}

/// Reads a dump: comments, then lines of an offset, up to sixteen bytes and their text.
fn golden(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let dump = fs::read_to_string(folder.join(format!("{name}.hex"))).unwrap();
    let mut bytes = Vec::new();
    for line in dump.lines().filter(|line| !line.starts_with('#')) {
        let (digits, _) = line.split_once('|').unwrap();
        let mut words = digits.split_whitespace();
        let offset = usize::from_str_radix(words.next().unwrap(), 16);
        assert_eq!(offset, Ok(bytes.len()), "{name}: {line}");
        bytes.extend(words.map(|word| u8::from_str_radix(word, 16).unwrap()));
    }
    bytes.into()
}

/// The id of every golden message, as in the tests of the reference client.
const ID: &str = "dd01e56b-ff48-483e-a508-b5f073f31b16";
