//! The body of `acknowledge`, sent once for every received message.
//!
//! Because it is so frequent, writing and reading have a fast path: both reference implementations
//! write exactly the same bytes.
//!
//! Specification: docs/protocol.md, section 6.2.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{PayloadError, decode, null_is_default};
use crate::wire::message::{Draft, MessageId, MessageType, Seq};

/// The body of `acknowledge`: identifies one received message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Type of the acknowledged message.
    #[serde(
        rename = "AcknowledgedMessageType",
        default,
        deserialize_with = "null_is_default"
    )]
    pub kind: String,
    /// Id of the acknowledged message, as a hyphenated UUID.
    #[serde(
        rename = "AcknowledgedMessageId",
        default,
        deserialize_with = "null_is_default"
    )]
    pub id: String,
    /// Sequence number of the acknowledged message: the only field that receivers use.
    #[serde(rename = "AcknowledgedMessageSequenceNumber")]
    pub seq: i64,
    /// Always true.
    #[serde(
        rename = "IsSequentialMessage",
        default,
        deserialize_with = "null_is_default"
    )]
    pub sequential: bool,
}

/// The fields of an [`Acknowledge`] that receivers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Sequence number of the acknowledged message.
    pub seq: i64,
}

/// Builds an acknowledgement in place, with the bytes of an encoded [`Acknowledge`]. Only sequenced
/// messages are acknowledged, and the names of their types need no escaping.
pub fn acknowledge(kind: &MessageType, id: MessageId, seq: Seq) -> Draft {
    let mut draft = Draft::with_capacity(ACKNOWLEDGE_LEN);
    let kind = kind.as_str();
    // Writing to memory cannot fail.
    let _ = write!(
        draft.payload(),
        r#"{{"AcknowledgedMessageType":"{kind}","AcknowledgedMessageId":"{id}","AcknowledgedMessageSequenceNumber":{seq},"IsSequentialMessage":true}}"#
    );
    draft
}

/// Reads the body of an acknowledgement.
///
/// # Errors
///
/// Same as [`decode`].
pub fn decode_acknowledge(payload: &[u8]) -> Result<Acknowledged, PayloadError> {
    let seq = match usual_acknowledge(payload) {
        Some(seq) => seq,
        None => decode::<Acknowledge>(payload)?.seq,
    };
    Ok(Acknowledged { seq })
}

/// Returns the sequence number of a body in the usual form; `None` for any other form.
fn usual_acknowledge(payload: &[u8]) -> Option<i64> {
    let rest = payload.strip_prefix(br#"{"AcknowledgedMessageType":""#)?;
    let rest = [b"output_stream_data".as_slice(), b"input_stream_data"]
        .into_iter()
        .find_map(|kind| rest.strip_prefix(kind))?;
    let rest = rest.strip_prefix(br#"","AcknowledgedMessageId":""#)?;
    let (id, rest) = rest.split_first_chunk::<UUID_LEN>()?;
    let rest = rest.strip_prefix(br#"","AcknowledgedMessageSequenceNumber":"#)?;
    let digits = rest.strip_suffix(br#","IsSequentialMessage":true}"#)?;
    if !is_plain(id) || !is_number(digits) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Returns true if the id consists of hexadecimal digits and hyphens only.
fn is_plain(id: &[u8; UUID_LEN]) -> bool {
    id.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-')
}

/// Returns true if the digits are a valid JSON number.
fn is_number(digits: &[u8]) -> bool {
    matches!(digits, [b'1'..=b'9', ..] | [b'0']) && digits.iter().all(u8::is_ascii_digit)
}

/// Length of a hyphenated UUID.
const UUID_LEN: usize = 36;

/// Length of a body with a sequence number of 20 digits, rounded up.
const ACKNOWLEDGE_LEN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::HEADER_LEN;
    use crate::wire::payload::encode;

    #[test]
    fn an_acknowledgement_is_read_in_any_case() {
        let text = br#"{"acknowledgedmessagetype":"output_stream_data","AcknowledgedMessageId":"x","acknowledgedMessageSequenceNumber":5}"#;

        assert_eq!(decode_acknowledge(text).unwrap().seq, 5);
    }

    #[test]
    fn the_fast_path_for_acknowledgements_gives_the_same_as_the_general_decoder() {
        let usual = payload_of_acknowledgement(1234);
        let mut short = 0;

        for place in 0..usual.len() {
            for byte in [
                0, b' ', b'"', b'+', b'-', b'0', b'9', b'\\', b'a', b'}', 0xff,
            ] {
                let mut text = usual.clone();
                text[place] = byte;
                let Some(seq) = usual_acknowledge(&text) else {
                    continue;
                };
                let long: Acknowledge = decode(&text).unwrap();
                assert_eq!(seq, long.seq, "{:?}", String::from_utf8_lossy(&text));
                short += 1;
            }
        }

        assert!(short > 100, "the id and the number may be any");
    }

    #[test]
    fn the_number_of_an_acknowledgement_is_an_i64() {
        for seq in [0, 7, 1 << 40, i64::MAX as u64] {
            let text = payload_of_acknowledgement(seq);
            assert_eq!(usual_acknowledge(&text).map(i64::cast_unsigned), Some(seq));
        }
        let text = payload_of_acknowledgement(i64::MAX as u64 + 1);
        assert!(decode_acknowledge(&text).is_err());
    }

    #[test]
    fn an_acknowledgement_without_a_number_is_an_error() {
        assert!(decode_acknowledge(br#"{"AcknowledgedMessageType":"x"}"#).is_err());
    }

    #[test]
    fn an_acknowledgement_in_place_is_the_one_that_serde_writes() {
        let id = MessageId::from_random([7; 16]);
        let body = Acknowledge {
            kind: "output_stream_data".to_owned(),
            id: id.to_string(),
            seq: 5,
            sequential: true,
        };

        let mut draft = acknowledge(&MessageType::Output, id, Seq(5));

        assert_eq!(draft.payload()[HEADER_LEN..], encode(&body)[..]);
    }

    fn payload_of_acknowledgement(seq: u64) -> Vec<u8> {
        let id = MessageId::from_random([7; 16]);
        let mut draft = acknowledge(&MessageType::Output, id, Seq(seq));
        draft.payload()[HEADER_LEN..].to_vec()
    }
}
