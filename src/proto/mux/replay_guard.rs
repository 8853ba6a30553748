//! The seam between two messages, which makes one that is processed twice unreadable.
//!
//! An agent that has processed a message and cannot acknowledge it, because its own websocket broke
//! in that moment, processes the message again when we retransmit it (protocol.md section 6.5
//! item 2). If every message held whole frames, that would be bytes in the destination twice, and
//! nobody would know. So every other seam lies within a NOP frame: two bytes of it end one message
//! and six begin the next. What comes twice then meets the wrong half:
//!
//! ```text
//!   … 01 03 │ 00 00 00 00 00 00 PSH … │ PSH … 01 03 │ 00 00 00 00 00 00 …
//!           └──────── even ───────────┴──── odd ────┘
//!   even, even    a frame that begins with 00, which is no version
//!   odd, odd      01 03 takes six bytes of the first header; its last two, 00 00, begin the next
//! ```
//!
//! Either ends the agent's mux, the session, and with a reset the local connections, which is the
//! truth. The second needs stream ids below 65,536. It also needs fourteen bytes to show at once: a
//! shorter message would leave the agent amid a header, and its mux would break only with the next
//! message, long after the cause. So a short one is filled up with a NOP.
//!
//! While it is not known whether the agent discards what arrives (`proto/readiness.rs`), a message
//! ends with the header of a frame whose payload begins the next one. The frame is for a stream that
//! does not exist, so an agent ignores the payload. An agent that discarded the header reads the
//! payload as frames: one opens the stream, the next has the wrong version.
//!
//! ```text
//!   NOP NOP NOP SYN PSH … │PSH 1│   first message
//!   SYN 1, 00 … 00    PSH … │PSH 1│   every other one; what comes first is payload, or ends the mux
//! ```
//!
//! That ends the session too, because a stream is open; an agent without one would go on and only
//! acknowledge (protocol.md section 8.2). So the connection is lost, and does not wait for ever. The
//! payloads get shorter by one byte from message to message, down from 22 to 16, and the first message
//! has NOPs before its frames, so that what is processed twice is noticed here as well.

use super::Mux;
use crate::wire::message::Draft;
use crate::wire::smux::{Command, Header, StreamId};

/// Where the last message ended.
#[derive(Debug, Default)]
pub(super) struct ReplayGuard {
    place: Place,
    /// The agent may discard messages.
    is_doubted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// Between two frames.
    #[default]
    Boundary,
    /// Within a NOP.
    Nothing,
    /// Before a payload of this many bytes.
    Payload(u16),
}

impl ReplayGuard {
    /// Begins a message.
    pub(super) fn begin(&self, draft: &mut Draft) {
        let payload = draft.payload();
        match self.place {
            Place::Boundary if self.is_doubted => {
                payload.extend_from_slice(&[nothing(); 3].concat());
            }
            Place::Boundary => {}
            Place::Nothing => payload.extend_from_slice(&nothing()[HEAD..]),
            Place::Payload(len) => {
                let end = payload.len() + usize::from(len);
                payload.extend_from_slice(&Header::bare(Command::Open, NO_STREAM).encode());
                payload.resize(end, 0);
            }
        }
    }

    /// Ends a message.
    pub(super) fn end(&mut self, draft: &mut Draft) {
        self.place = self.next();
        match self.place {
            Place::Boundary => {}
            Place::Nothing => {
                if draft.len() + HEAD < SHORTEST {
                    draft.payload().extend_from_slice(&nothing());
                }
                draft.payload().extend_from_slice(&nothing()[..HEAD]);
            }
            Place::Payload(len) => {
                let header = Header::push(NO_STREAM, len).encode();
                draft.payload().extend_from_slice(&header);
            }
        }
    }

    /// Bytes that [`ReplayGuard::end`] will need.
    pub(super) fn len(&self) -> usize {
        match self.next() {
            Place::Boundary => 0,
            Place::Nothing => HEAD,
            Place::Payload(_) => Header::LEN,
        }
    }

    /// Where the next message ends.
    fn next(&self) -> Place {
        match (self.place, self.is_doubted) {
            (Place::Payload(len), true) if len > MIN_PAYLOAD => Place::Payload(len - 1),
            (_, true) => Place::Payload(MAX_PAYLOAD),
            (Place::Boundary, false) => Place::Nothing,
            (Place::Nothing | Place::Payload(_), false) => Place::Boundary,
        }
    }
}

impl Mux {
    /// The agent may discard the first messages. Only before the first one.
    pub(crate) fn doubt_start(&mut self) {
        self.replay_guard.is_doubted = true;
    }

    /// The agent has processed a message, so it discards no more.
    pub(crate) fn prove_start(&mut self) {
        self.replay_guard.is_doubted = false;
    }

    /// Whether the agent may discard messages.
    pub(crate) fn doubts_start(&self) -> bool {
        self.replay_guard.is_doubted
    }
}

/// Never opened by a client (protocol.md section 8.2).
const NO_STREAM: StreamId = StreamId(1);

/// A header that opens a stream, and one that ends a mux.
const MIN_PAYLOAD: u16 = 16;

/// Six bytes more than the shortest, which follows it: an agent that reads the message twice takes six
/// bytes of the first header for payload, and its last two begin the next.
const MAX_PAYLOAD: u16 = 22;

/// The highest id with which the seam works.
pub(super) const MAX_STREAM: StreamId = StreamId(u16::MAX as u32);

/// What of a NOP ends a message: enough to make what follows a NOP, whatever it is.
const HEAD: usize = 2;

/// The shortest odd message that cannot be processed twice unseen: what is left of the NOP, and the
/// header with the wrong version behind it.
const SHORTEST: usize = Header::LEN - HEAD + Header::LEN;

fn nothing() -> [u8; Header::LEN] {
    Header::bare(Command::Nothing, StreamId(0)).encode()
}
