//! The data channel protocol as a state machine without I/O.
//!
//! A [`Tunnel`] is a value. It owns no socket, starts no task and reads no clock. The prefix of a
//! method gives its direction:
//!
//! ```text
//!   handle_*   input from the driver    websocket opened or broke, frame received, time passed
//!   open, write, read, finish, reset    calls of the owners of streams
//!   poll_*     output for the driver    the next frame, the next event, the next deadline
//! ```
//!
//! **Event loop.** After any `handle_*` and any stream method: drain `poll_event`, drain
//! `poll_transmit`, then sleep until `poll_timeout` or the next input. Nothing else is required.
//!
//! **Invariants.** The same seed and the same calls give the same bytes. Time never goes
//! backwards. Errors of `handle_message` are final. End and loss are distinct: a stream ends only
//! when its destination did and every byte was read. All buffers are bounded: unacknowledged
//! bytes, early messages, unsent bytes and unread bytes each have a named limit.
//!
//! Specification: docs/protocol.md, sections 3 to 11.

mod agent_text;
mod channel;
mod document;
mod error;
mod event;
mod inquiry;
mod keep_alive;
mod mux;
mod readiness;
mod single_stream;
mod start_check;
mod state;
mod stats;
mod streams;
mod tunnel;

pub use self::channel::{ClientVersion, ReorderBudget, Transmit};
pub use self::document::ClientSide;
pub use self::error::Reason;
pub use self::event::{Event, OpenError, Options, Read};
pub use self::mux::{MAX_UNREAD_OF_STREAM, MAX_UNREAD_OF_TUNNEL, MAX_UNSENT, Upload, Write};
pub use self::stats::{MessageCounters, Stats};
pub use self::tunnel::Tunnel;
pub use crate::wire::smux::StreamId;

#[cfg(test)]
pub(crate) mod tests {
    //! Messages for the tests of modules that do not import `wire`.

    use bytes::Bytes;

    use crate::wire::message::{Header, Message, MessageId, MessageType, PayloadType, Seq};

    /// Returns an agent message without effect that is acknowledged each time it arrives.
    pub(crate) fn acknowledged_message() -> Bytes {
        let header = Header {
            kind: MessageType::Output,
            created: 1,
            seq: Seq(0),
            flags: 0,
            id: MessageId::from_random([0; 16]),
            payload_type: PayloadType::None,
        };
        let payload = Bytes::new();
        Message { header, payload }.encode()
    }
}
