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

use crate::wire::message::Draft;
use crate::wire::smux::{Command, Header, StreamId};

/// Where the last message ended.
#[derive(Debug, Default)]
pub(super) struct Seam {
    /// Within a NOP.
    is_open: bool,
}

impl Seam {
    /// Begins a message.
    pub(super) fn begin(&self, draft: &mut Draft) {
        if self.is_open {
            draft.payload().extend_from_slice(&nothing()[HEAD..]);
        }
    }

    /// Ends a message.
    pub(super) fn end(&mut self, draft: &mut Draft) {
        if !self.is_open {
            if draft.len() + HEAD < SHORTEST {
                draft.payload().extend_from_slice(&nothing());
            }
            draft.payload().extend_from_slice(&nothing()[..HEAD]);
        }
        self.is_open = !self.is_open;
    }

    /// Bytes that [`Seam::end`] will need.
    pub(super) fn len(&self) -> usize {
        if self.is_open { 0 } else { HEAD }
    }
}

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
