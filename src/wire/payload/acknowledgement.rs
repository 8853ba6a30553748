//! The body of `acknowledge`, sent once for every received message.
//!
//! Because it is so frequent, writing and reading have a fast path: both reference implementations
//! write exactly the same bytes.
//!
//! Specification: docs/protocol.md, section 6.2.

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
    let (mut uuid, mut digits) = ([0; UUID_LEN], [0; MAX_DIGITS]);
    let uuid = id.uuid().as_hyphenated().encode_lower(&mut uuid);
    let parts = [
        BEFORE_KIND,
        kind.as_str().as_bytes(),
        BEFORE_ID,
        uuid.as_bytes(),
        BEFORE_SEQ,
        decimal(seq.0, &mut digits),
        AFTER_SEQ,
    ];
    for part in parts {
        draft.payload().extend_from_slice(part);
    }
    draft
}

/// Writes a number in decimal, at the end of `digits`, and returns it.
fn decimal(mut number: u64, digits: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut start = MAX_DIGITS;
    for place in digits.iter_mut().rev() {
        *place = DIGITS[(number % 10) as usize];
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    &digits[start..]
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
    let rest = payload.strip_prefix(BEFORE_KIND)?;
    let rest = [b"output_stream_data".as_slice(), b"input_stream_data"]
        .into_iter()
        .find_map(|kind| rest.strip_prefix(kind))?;
    let rest = rest.strip_prefix(BEFORE_ID)?;
    let (id, rest) = rest.split_first_chunk::<UUID_LEN>()?;
    let rest = rest.strip_prefix(BEFORE_SEQ)?;
    let digits = rest.strip_suffix(AFTER_SEQ)?;
    if is_plain(id) { number(digits) } else { None }
}

/// Returns true if the id consists of hexadecimal digits and hyphens only.
fn is_plain(id: &[u8; UUID_LEN]) -> bool {
    // Without a branch for each byte, so that many are compared at once.
    id.iter().fold(true, |plain, b| {
        plain & (b.is_ascii_hexdigit() | (*b == b'-'))
    })
}

/// Reads a JSON number without sign, fraction and exponent, up to the maximum of an `i64`.
fn number(digits: &[u8]) -> Option<i64> {
    if !matches!(digits, [b'1'..=b'9', ..] | [b'0']) {
        return None;
    }
    digits.iter().try_fold(0_i64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// What is before, between and after the values of a body in the usual form.
const BEFORE_KIND: &[u8] = br#"{"AcknowledgedMessageType":""#;
const BEFORE_ID: &[u8] = br#"","AcknowledgedMessageId":""#;
const BEFORE_SEQ: &[u8] = br#"","AcknowledgedMessageSequenceNumber":"#;
const AFTER_SEQ: &[u8] = br#","IsSequentialMessage":true}"#;

/// Digits of the largest `u64`.
const MAX_DIGITS: usize = 20;
const DIGITS: &[u8; 10] = b"0123456789";

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
        let powers = (0..19).map(|power| 10_i64.pow(power));
        let numbers = powers.flat_map(|power| [power - 1, power, power + 1]);
        for (byte, seq) in (0..).zip(numbers.chain([i64::MAX])) {
            for kind in [MessageType::Output, MessageType::Input] {
                let id = MessageId::from_random([byte; 16]);
                let body = Acknowledge {
                    kind: kind.as_str().to_owned(),
                    id: id.to_string(),
                    seq,
                    sequential: true,
                };

                let mut draft = acknowledge(&kind, id, Seq(seq.cast_unsigned()));

                assert_eq!(draft.payload()[HEADER_LEN..], encode(&body)[..]);
            }
        }
    }

    fn payload_of_acknowledgement(seq: u64) -> Vec<u8> {
        let id = MessageId::from_random([7; 16]);
        let mut draft = acknowledge(&MessageType::Output, id, Seq(seq));
        draft.payload()[HEADER_LEN..].to_vec()
    }
}
