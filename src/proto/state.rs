//! Where a tunnel stands.
//!
//! ```text
//!            handshake complete         agent is ready
//!   Opening ───────────────────▶ Probing ──────────────────▶ Ready
//!      │ close                      │ close                    │ close
//!      └───────────▶ Ended ◀────────┴──────── Closing ◀────────┘
//!                      ▲   flag acknowledged, or a second      │
//!                      └── an error, channel_closed, abandon ──┘
//! ```
//!
//! No byte of a user leaves before `Ready`: agents drop what comes before their plugin is ready
//! (protocol.md section 5.1).

use std::time::Instant;

use super::error::Reason;
use super::readiness::Readiness;
use crate::printable::Printable;

#[derive(Debug)]
pub(super) enum State {
    Opening,
    Probing {
        agent_version: Printable,
        readiness: Readiness,
        /// When it counts as ready, if it cannot prove it.
        settled: Option<Instant>,
        /// When it counts as refused, while there is a websocket; without a mux.
        refused: Option<Instant>,
    },
    Ready,
    Closing {
        deadline: Instant,
    },
    Ended(Reason),
}

impl State {
    /// When the state changes by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Closing { deadline } => Some(*deadline),
            Self::Probing {
                settled,
                refused,
                readiness,
                ..
            } => [*settled, *refused, readiness.due()]
                .into_iter()
                .flatten()
                .min(),
            Self::Opening | Self::Ready | Self::Ended(_) => None,
        }
    }

    /// Why nothing follows.
    pub(super) fn ended(&self) -> Option<&Reason> {
        match self {
            Self::Ended(reason) => Some(reason),
            Self::Opening | Self::Probing { .. } | Self::Ready | Self::Closing { .. } => None,
        }
    }

    /// True while data may leave.
    pub(super) fn may_send_data(&self) -> bool {
        matches!(self, Self::Ready | Self::Closing { .. })
    }
}
