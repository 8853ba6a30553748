//! Shifts the boundaries of messages so that the agent's mux breaks if one is processed twice.
//!
//! An agent that has processed a message but cannot acknowledge it, because its own websocket
//! broke at that moment, processes the message again when we retransmit it (docs/protocol.md,
//! section 6.5 item 2). If every message held whole frames, bytes would reach the destination
//! twice, undetected. So every other message boundary lies within a NOP frame: two bytes of it end
//! one message and six begin the next. A repeated message is then decoded from the wrong offset:
//!
//! ```text
//!   … 01 03 │ 00 00 00 00 00 00 PSH … │ PSH … 01 03 │ 00 00 00 00 00 00 …
//!           └──────── even ───────────┴──── odd ────┘
//!   even, even    a frame that begins with 00, which is not a version
//!   odd, odd      01 03 takes six bytes of the first header; its last two, 00 00, begin the next
//! ```
//!
//! Either ends the agent's mux, the session and, with a reset, the local connections. The second
//! needs stream ids below 65,536. It also needs at least fourteen bytes to be detected at once: a
//! shorter message would leave the agent within a header, and its mux would break only with the
//! next message, long after the cause. So a short message is padded with a NOP.
//!
//! While the agent may still discard what arrives (`proto/readiness.rs`), a message ends with the
//! header of a frame whose payload begins the next one. The frame is for a stream that does not
//! exist, so an agent ignores the payload. An agent that discarded the header reads the payload as
//! frames: one opens the stream, the next has the wrong version.
//!
//! ```text
//!   NOP NOP NOP SYN PSH … │PSH 1│   first message
//!   SYN 1, 00 … 00    PSH … │PSH 1│   all others; their beginning is payload, or ends the mux
//! ```
//!
//! That also ends the session, because a stream is open; an agent without one would continue and
//! only acknowledge (docs/protocol.md, section 8.2). So the connection fails instead of hanging.
//! The payloads get shorter by one byte from message to message, from 22 down to 16, and the first
//! message has NOPs before its frames, so that a message processed twice is detected here as well.

use super::Mux;
use crate::wire::message::Draft;
use crate::wire::smux::{Command, Header, StreamId};

/// Position of the last message boundary.
#[derive(Debug, Default)]
pub(super) struct ReplayGuard {
    position: Position,
    /// True while the agent may discard messages.
    may_discard: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Position {
    /// Between two frames.
    #[default]
    Boundary,
    /// Within a NOP.
    WithinNop,
    /// Before a payload of this many bytes.
    Payload(u16),
}

impl ReplayGuard {
    /// Writes the beginning of a message.
    pub(super) fn begin(&self, draft: &mut Draft) {
        let payload = draft.payload();
        match self.position {
            Position::Boundary if self.may_discard => {
                payload.extend_from_slice(&[nop(); 3].concat());
            }
            Position::Boundary => {}
            Position::WithinNop => payload.extend_from_slice(&nop()[HEAD..]),
            Position::Payload(len) => {
                let end = payload.len() + usize::from(len);
                payload.extend_from_slice(&Header::bare(Command::Syn, NO_STREAM).encode());
                payload.resize(end, 0);
            }
        }
    }

    /// Writes the end of a message.
    pub(super) fn end(&mut self, draft: &mut Draft) {
        self.position = self.next();
        match self.position {
            Position::Boundary => {}
            Position::WithinNop => {
                if draft.len() + HEAD < SHORTEST {
                    draft.payload().extend_from_slice(&nop());
                }
                draft.payload().extend_from_slice(&nop()[..HEAD]);
            }
            Position::Payload(len) => {
                let header = Header::push(NO_STREAM, len).encode();
                draft.payload().extend_from_slice(&header);
            }
        }
    }

    /// Returns the number of bytes to reserve for [`ReplayGuard::end`].
    pub(super) fn len(&self) -> usize {
        match self.next() {
            Position::Boundary => 0,
            Position::WithinNop => HEAD,
            Position::Payload(_) => Header::LEN,
        }
    }

    /// Returns where the next message ends.
    fn next(&self) -> Position {
        match (self.position, self.may_discard) {
            (Position::Payload(len), true) if len > MIN_PAYLOAD => Position::Payload(len - 1),
            (_, true) => Position::Payload(MAX_PAYLOAD),
            (Position::Boundary, false) => Position::WithinNop,
            (Position::WithinNop | Position::Payload(_), false) => Position::Boundary,
        }
    }
}

impl Mux {
    /// The agent may discard the first messages. Only called before the first one.
    pub(crate) fn enter_discard_phase(&mut self) {
        self.replay_guard.may_discard = true;
    }

    /// The agent has processed a message, so the discard phase is over.
    pub(crate) fn leave_discard_phase(&mut self) {
        self.replay_guard.may_discard = false;
    }

    /// Returns true while the agent may discard messages.
    pub(crate) fn may_discard(&self) -> bool {
        self.replay_guard.may_discard
    }
}

/// A client never opens this stream (docs/protocol.md, section 8.2).
const NO_STREAM: StreamId = StreamId(1);

/// Shortest payload: a header that opens a stream, and one that ends a mux.
const MIN_PAYLOAD: u16 = 16;

/// Longest payload: six bytes more than the shortest, which follows it. An agent that reads the
/// message twice takes six bytes of the first header as payload; its last two begin the next.
const MAX_PAYLOAD: u16 = 22;

/// The highest id with which the guard works.
pub(super) const MAX_STREAM: StreamId = StreamId(u16::MAX as u32);

/// Bytes of a NOP that end a message: enough to turn any following bytes into a NOP.
const HEAD: usize = 2;

/// The shortest odd message whose second processing is detected: the rest of the NOP, and the
/// header with the wrong version behind it.
const SHORTEST: usize = Header::LEN - HEAD + Header::LEN;

fn nop() -> [u8; Header::LEN] {
    Header::bare(Command::Nop, StreamId(0)).encode()
}
