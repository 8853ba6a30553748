//! MySQL and MariaDB: an `ERR` packet in place of the server's handshake ("Protocol Basics").
//!
//! It has no SQLSTATE, since capabilities are not negotiated yet. The error is 1158, "Got an error
//! reading communication packets", of class 08S01: drivers with several hosts try the next one for
//! it. MariaDB's client takes errors of clients (2001 to 2062) from a server as malformed packets.

use super::explanation::Explanation;

/// Returns the packet.
pub(super) fn message(explanation: &Explanation) -> Vec<u8> {
    let text = explanation.line(MAX_TEXT);
    let mut payload = vec![ERR];
    payload.extend(NET_READ_ERROR.to_le_bytes());
    payload.extend(text.bytes());
    let length = u32::try_from(payload.len()).expect("the text is cut");
    let mut packet = length.to_le_bytes()[..3].to_vec();
    packet.push(SEQUENCE);
    packet.extend(payload);
    packet
}

const ERR: u8 = 0xff;

/// Number of the first packet.
const SEQUENCE: u8 = 0;

/// `ER_NET_READ_ERROR`.
const NET_READ_ERROR: u16 = 1158;

/// Clients cut error messages at 512 bytes (`MYSQL_ERRMSG_SIZE`), with the terminating one.
const MAX_TEXT: usize = 511;
