//! What the protocol does, with the world left out.
//!
//! A [`Tunnel`] is a value. It owns no socket, starts no task and reads no clock. Its verbs tell
//! their direction by their prefix:
//!
//! ```text
//!   handle_*   the world tells us       a websocket opened or broke, a frame came, time passed
//!   open, write, read, finish, reset    the owners of streams ask
//!   poll_*     we tell the driver       the next frame, the next event, the next deadline
//! ```
//!
//! **The loop.** After any `handle_*` and any verb of a stream: drain `poll_event`, drain
//! `poll_transmit`, then sleep until `poll_timeout` or the next input. Nothing else is owed.
//!
//! **The laws.** The same seed and the same calls give the same bytes. Time never goes back.
//! Errors of `handle_message` are final. End and loss are different answers: a stream ends only
//! when its destination did and every byte was read. Nothing grows without a bound: unacknowledged
//! bytes, early messages, unsent bytes and unread bytes each have a limit that is named.
//!
//! Specification: protocol.md sections 3 to 11.

mod channel;
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
pub use self::error::Reason;
pub use self::event::{Event, OpenError, Options, Read};
pub use self::mux::{MAX_UNREAD_OF_STREAM, MAX_UNREAD_OF_TUNNEL, MAX_UNSENT, Upload, Write};
pub use self::stats::Stats;
pub use self::tunnel::Tunnel;
pub use crate::wire::smux::StreamId;

#[cfg(test)]
pub(crate) mod tests {
    //! Messages for the tests of modules that do not import `wire`.

    use bytes::Bytes;

    use crate::wire::message::{Header, Kind, Message, MessageId, PayloadType, Seq};

    /// A message of the agent without effect, which is acknowledged each time that it comes.
    pub(crate) fn acknowledged_message() -> Bytes {
        let header = Header {
            kind: Kind::Output,
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
