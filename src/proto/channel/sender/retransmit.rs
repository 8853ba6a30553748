//! Retransmission schedule of a message.

use std::time::{Duration, Instant};

/// How soon a message is retransmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retransmit {
    /// According to the round trip.
    Normal,
    /// A readiness probe: agents discard what arrives before their plugin is ready, and the time of
    /// that is unknown (docs/protocol.md, section 5.1). Every 3 ms for 30 ms, then at intervals
    /// that grow by a factor of 1.5, up to 50 ms.
    Probe {
        /// When it was first sent.
        since: Instant,
        /// When it is sent again.
        next: Instant,
        /// The pause before that.
        pause: Duration,
    },
}

impl Retransmit {
    /// Creates the schedule of a probe that is sent now.
    pub(crate) fn probe(now: Instant) -> Self {
        Self::Probe {
            since: now,
            next: now + PROBE_PAUSE,
            pause: PROBE_PAUSE,
        }
    }

    /// Returns when the message is sent again, if the time is fixed.
    pub(super) fn next(self) -> Option<Instant> {
        match self {
            Self::Normal => None,
            Self::Probe { next, .. } => Some(next),
        }
    }

    pub(super) fn after(self, now: Instant) -> Self {
        let Self::Probe { since, pause, .. } = self else {
            return self;
        };
        let pause = match now - since < PROBE_STEADY {
            true => pause,
            false => (pause * 3 / 2).min(PROBE_MAX_PAUSE),
        };
        Self::Probe {
            since,
            next: now + pause,
            pause,
        }
    }
}

// Agents are ready 0.2 to 9 ms after the handshake, with a remote host up to 450 ms
// (docs/protocol.md, sections 0.2 and 5.1, appendix E).
const PROBE_PAUSE: Duration = Duration::from_millis(3);
const PROBE_STEADY: Duration = Duration::from_millis(30);
const PROBE_MAX_PAUSE: Duration = Duration::from_millis(50);
