//! Messages that neither a tunnel nor an agent would send by itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use bytes::Bytes;
use ssm_proxyd::wire::message::{Header, Message, MessageId, MessageType, PayloadType, Seq};
use ssm_proxyd::wire::payload::{self, Acknowledge, ChannelClosed, Flag};
use ssm_proxyd::wire::smux::{self, Command, StreamId};

/// The server behind stream URLs, which `serve`s each connection on a thread. The threads end with
/// the test binary.
pub(crate) fn gateway(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Any message.
pub(crate) fn message(
    kind: MessageType,
    seq: u64,
    payload_type: PayloadType,
    payload: &[u8],
) -> Bytes {
    let header = Header {
        kind,
        created: 1,
        seq: Seq(seq),
        flags: 0,
        id: MessageId::from_random(u128::from(seq).to_be_bytes()),
        payload_type,
    };
    let payload = Bytes::copy_from_slice(payload);
    Message { header, payload }.encode()
}

/// Bytes of the mux, from the agent.
pub(crate) fn output(seq: u64, payload: &[u8]) -> Bytes {
    message(MessageType::Output, seq, PayloadType::Output, payload)
}

/// A flag, from the agent.
pub(crate) fn flag(seq: u64, flag: Flag) -> Bytes {
    message(MessageType::Output, seq, PayloadType::Flag, &flag.encode())
}

/// The acknowledgement of a message of `kind`.
pub(crate) fn acknowledge(kind: &MessageType, seq: i64) -> Bytes {
    let body = payload::encode(&Acknowledge {
        kind: kind.to_string(),
        id: "00000000-0000-4000-8000-000000000000".to_owned(),
        seq,
        sequential: true,
    });
    message(MessageType::Acknowledge, 0, PayloadType::None, &body)
}

/// The handshake of an agent of `version` that requests port forwarding, and the actions `more`.
pub(crate) fn handshake_request(seq: u64, version: &str, more: &str) -> Bytes {
    let properties = r#"{"portNumber":"80","type":"LocalPortForwarding"}"#;
    handshake_request_for(seq, version, properties, more)
}

/// The same with other properties, as JSON.
pub(crate) fn handshake_request_for(
    seq: u64,
    version: &str,
    properties: &str,
    more: &str,
) -> Bytes {
    let body = format!(
        r#"{{"AgentVersion":"{version}","RequestedClientActions":[{{"ActionType":"SessionType","ActionParameters":{{"SessionType":"Port","Properties":{properties}}}}}{more}]}}"#
    );
    let payload_type = PayloadType::HandshakeRequest;
    message(MessageType::Output, seq, payload_type, body.as_bytes())
}

/// HandshakeComplete of the agent.
pub(crate) fn handshake_complete(seq: u64, notice: &str) -> Bytes {
    let body = format!(r#"{{"HandshakeTimeToComplete":1000,"CustomerMessage":"{notice}"}}"#);
    let payload_type = PayloadType::HandshakeComplete;
    message(MessageType::Output, seq, payload_type, body.as_bytes())
}

/// The service ends the session.
pub(crate) fn channel_closed(output: &str) -> Bytes {
    let body = payload::encode(&ChannelClosed {
        message_id: String::new(),
        created_date: String::new(),
        destination_id: String::new(),
        session_id: "session".to_owned(),
        message_type: MessageType::ChannelClosed.to_string(),
        schema_version: 1,
        output: output.to_owned(),
    });
    message(MessageType::ChannelClosed, 0, PayloadType::None, &body)
}

/// A message of the service that pauses or starts publication.
pub(crate) fn publication(kind: MessageType) -> Bytes {
    message(kind, 0, PayloadType::None, b"")
}

/// Frames of the mux, concatenated.
pub(crate) fn frames(frames: &[(Command, StreamId, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (command, stream, data) in frames {
        let mut header = smux::Header::bare(*command, *stream);
        header.length = u16::try_from(data.len()).expect("the frames of tests are short");
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(data);
    }
    bytes
}
