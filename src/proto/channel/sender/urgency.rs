//! When a message is sent again.

use std::time::{Duration, Instant};

/// How soon a message is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// By the round trip.
    Patient,
    /// The probe of readiness: agents drop what comes before their plugin is ready, and nobody
    /// can tell when that is (protocol.md section 5.1). Every 3 ms for 30 ms, then 1.5 times
    /// slower each time, up to 50 ms.
    Probe {
        /// When it first left.
        since: Instant,
        /// When it leaves again.
        next: Instant,
        /// The pause before that.
        pause: Duration,
    },
}

impl Urgency {
    /// The urgency of a probe that leaves now.
    pub(crate) fn probe(now: Instant) -> Self {
        Self::Probe {
            since: now,
            next: now + PROBE_PAUSE,
            pause: PROBE_PAUSE,
        }
    }

    /// When the message leaves again, if that is certain.
    pub(super) fn next(self) -> Option<Instant> {
        match self {
            Self::Patient => None,
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

// Agents are ready 0.2 to 9 ms after the handshake, with a remote host up to 450 ms (protocol.md
// sections 0.2 and 5.1, appendix E).
const PROBE_PAUSE: Duration = Duration::from_millis(3);
const PROBE_STEADY: Duration = Duration::from_millis(30);
const PROBE_MAX_PAUSE: Duration = Duration::from_millis(50);
