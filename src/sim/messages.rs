//! Messages created by Session Manager itself.

use bytes::Bytes;

use crate::wire::message::{Header, Message, MessageId, MessageType, PayloadType, Seq};
use crate::wire::payload::{self, ChannelClosed};

/// Reports the end of a session, with the agent's text (docs/protocol.md, section 9.1).
pub(super) fn channel_closed(session_id: &str, output: &str) -> Bytes {
    let id = MessageId::from_random(fastrand::u128(..).to_be_bytes());
    let created = millis();
    let body = payload::encode(&ChannelClosed {
        message_id: id.to_string(),
        created_date: created.to_string(),
        destination_id: session_id.to_owned(),
        session_id: session_id.to_owned(),
        message_type: MessageType::ChannelClosed.to_string(),
        schema_version: 1,
        output: output.to_owned(),
    });
    message(MessageType::ChannelClosed, id, created, body)
}

/// Reports whether the other side accepts messages (docs/protocol.md, section 6.6).
pub(super) fn publication(kind: MessageType) -> Bytes {
    let id = MessageId::from_random(fastrand::u128(..).to_be_bytes());
    message(kind, id, millis(), Bytes::new())
}

fn message(kind: MessageType, id: MessageId, created: u64, payload: Bytes) -> Bytes {
    let header = Header {
        kind,
        created,
        seq: Seq(0),
        flags: 0,
        id,
        payload_type: PayloadType::None,
    };
    Message { header, payload }.encode()
}

fn millis() -> u64 {
    let since = crate::clock::wall().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(1, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
