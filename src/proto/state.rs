//! State machine of a tunnel.
//!
//! ```text
//!            handshake complete         agent is ready
//!   Opening ───────────────────▶ Probing ──────────────────▶ Ready
//!      │ close                      │ close                    │ close
//!      └───────────▶ Ended ◀────────┴──────── Closing ◀────────┘
//!                      ▲   flag acknowledged, or one second    │
//!                      └── an error, channel_closed, abandon ──┘
//! ```
//!
//! No user data is sent before `Ready`: agents discard what arrives before their plugin is ready
//! (docs/protocol.md, section 5.1).

use std::time::Instant;

use super::error::Reason;
use super::readiness::Readiness;
use crate::printable::Printable;

#[derive(Debug)]
pub(super) enum State {
    Opening,
    Probing {
        agent_version: Printable,
        /// Destination that the agent reported, if any.
        destination: Option<Printable>,
        readiness: Readiness,
        /// When the agent is assumed to be ready if no refusal was seen.
        settled: Option<Instant>,
        /// When the dial is assumed to be refused; only without a mux and while connected.
        refused: Option<Instant>,
    },
    Ready,
    Closing {
        deadline: Instant,
    },
    Ended(Reason),
}

impl State {
    /// Returns the time of the next timed state change.
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

    /// Returns the reason if the tunnel has ended.
    pub(super) fn ended(&self) -> Option<&Reason> {
        match self {
            Self::Ended(reason) => Some(reason),
            Self::Opening | Self::Probing { .. } | Self::Ready | Self::Closing { .. } => None,
        }
    }

    /// Returns true while stream data may be sent.
    pub(super) fn may_send_data(&self) -> bool {
        matches!(self, Self::Ready | Self::Closing { .. })
    }
}
