//! Byte layouts of the Session Manager protocol: encoders and decoders.
//!
//! This module knows the position of every field and nothing about the order of messages, time, or
//! whether a message is valid in the current state. It is used by both sides of the wire, `proto`
//! (client) and `sim` (simulator), and is the only code that they share.
//!
//! Invariant: **decoding is total**. Every input yields a value or an error; no input panics or
//! allocates more than its own size.
//!
//! ```text
//!   message   header of 120 bytes, then the payload            big-endian
//!   payload   depends on its type: raw bytes, JSON or a flag   big-endian
//!   smux      concatenated raw bytes of many messages:         little-endian
//!             8-byte headers, some followed by data
//! ```
//!
//! Specification: docs/protocol.md, sections 2.2, 3, 4, 5, 6.2, 8.2 and 9.1.

pub mod message;
pub mod payload;
pub mod smux;
