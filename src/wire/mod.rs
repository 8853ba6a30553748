//! What the bytes look like.
//!
//! This room knows where a byte lies in a message and nothing else: not the order of messages,
//! not the time, not whether a message makes sense now. Both sides of the wire stand on it, ours
//! in `proto` and the far one in `sim`, and it is the only thing that they share.
//!
//! The law of the room: **decoding is total**. Every input is a value or an error; none panics,
//! and none allocates more than it was given.
//!
//! ```text
//!   message   120 bytes of header, then the payload            big-endian
//!   payload   by its type: raw bytes, JSON, or a 4-byte flag   big-endian
//!   smux      raw bytes of many messages, joined: 8-byte       little-endian
//!             headers, data behind some of them
//! ```
//!
//! Specification: protocol.md sections 2.2, 3, 4, 5, 6.2, 8.2, 9.1.

pub mod message;
pub mod payload;
pub mod smux;
