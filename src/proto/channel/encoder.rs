//! Encodes outgoing messages with an id, a date and a sequence number.
//!
//! Ids come from a seed and dates from a single reading of the wall clock, so the same calls give
//! the same bytes.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fastrand::Rng;

use super::version::ClientVersion;
use crate::wire::message::{Draft, FIN, Header, MessageId, MessageType, PayloadType, SYN, Seq};
use crate::wire::payload::{self, OpenDataChannel};

/// Encoder of a channel's messages.
#[derive(Debug)]
pub(crate) struct MessageEncoder {
    /// An instant, and the wall clock at that instant.
    now: Instant,
    wall: SystemTime,
    ids: Rng,
    client_id: MessageId,
    client_version: ClientVersion,
}

impl MessageEncoder {
    /// Creates an encoder. `wall` is the wall clock at `now`.
    pub(crate) fn new(now: Instant, wall: SystemTime, seed: u64) -> Self {
        let mut ids = Rng::with_seed(seed);
        let client_id = random_id(&mut ids);
        Self {
            now,
            wall,
            ids,
            client_id,
            client_version: ClientVersion::DEFAULT,
        }
    }

    /// Sets the client version to send.
    pub(crate) fn announce(&mut self, version: ClientVersion) {
        self.client_version = version;
    }

    /// Returns the text frame that opens the channel on a new websocket. It contains the token.
    pub(crate) fn opening(&mut self, token: &str) -> String {
        let body = payload::encode(&OpenDataChannel {
            message_schema_version: payload::SCHEMA_VERSION.to_owned(),
            request_id: random_id(&mut self.ids).to_string(),
            token_value: token.to_owned(),
            client_id: self.client_id.to_string(),
            client_version: self.client_version.to_string(),
        });
        String::from_utf8_lossy(&body).into_owned()
    }

    /// Encodes a sequenced message.
    pub(crate) fn input(
        &mut self,
        now: Instant,
        seq: Seq,
        payload_type: PayloadType,
        draft: Draft,
    ) -> Bytes {
        let header = self.header(now, MessageType::Input);
        draft.finish_message(&Header {
            seq,
            payload_type,
            ..header
        })
    }

    /// Encodes the acknowledgement of an agent's message.
    pub(crate) fn acknowledgement(&mut self, now: Instant, seq: Seq, id: MessageId) -> Bytes {
        let draft = payload::acknowledge(&MessageType::Output, id, seq);
        let header = self.header(now, MessageType::Acknowledge);
        draft.finish_message(&Header {
            flags: SYN | FIN,
            ..header
        })
    }

    fn header(&mut self, now: Instant, kind: MessageType) -> Header {
        Header {
            kind,
            created: self.date(now),
            seq: Seq(0),
            flags: 0,
            id: random_id(&mut self.ids),
            payload_type: PayloadType::None,
        }
    }

    /// Milliseconds since the Unix epoch; never 0, which receivers refuse.
    fn date(&self, now: Instant) -> u64 {
        let wall = self.wall + now.saturating_duration_since(self.now);
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

fn random_id(ids: &mut Rng) -> MessageId {
    MessageId::from_random(ids.u128(..).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::wire::message::Message;

    #[test]
    fn dates_follow_the_wall_clock_of_the_beginning() {
        let now = clock::now();
        let wall = UNIX_EPOCH + Duration::from_secs(1_000);
        let mut encoder = MessageEncoder::new(now, wall, 1);

        let later = now + Duration::from_millis(250);
        let frame = encoder.acknowledgement(later, Seq(5), MessageId::from_random([1; 16]));
        let message = Message::decode(frame).unwrap();

        assert_eq!(message.header.created, 1_000_250);
        assert_eq!((message.header.seq, message.header.flags), (Seq(0), 3));
        assert_eq!(
            payload::decode_acknowledge(&message.payload).unwrap().seq,
            5
        );
    }

    #[test]
    fn a_clock_before_the_epoch_still_gives_a_date() {
        let now = clock::now();
        let encoder = MessageEncoder::new(now, UNIX_EPOCH - Duration::from_secs(9), 1);

        assert_eq!(encoder.date(now), 1);
    }
}
