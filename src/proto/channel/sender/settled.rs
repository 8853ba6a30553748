//! What the acknowledgements prove about messages that have left.

use std::time::{Duration, Instant};

use super::Sender;
use crate::wire::message::Seq;

impl Sender {
    /// The oldest message from number `begin` on that is not acknowledged, but for probes, and when
    /// its acknowledgement is overdue.
    pub(crate) fn oldest(&self, begin: Seq) -> Option<(Seq, Instant)> {
        let kept = self.kept.range(begin.0..);
        let mut patient = kept.filter(|(_, kept)| kept.is_patient());
        let (seq, kept) = patient.next()?;
        let overdue = match kept.attempts {
            1 => kept.sent + self.rtt.timeout(1),
            _ => kept.sent,
        };
        Some((Seq(*seq), overdue))
    }

    /// The shortest round trip of a message that was sent once; zero if none was measured.
    pub(crate) fn least_trip(&self) -> Duration {
        self.rtt.least().unwrap_or_default()
    }

    /// True if the agent has acknowledged every message up to number `seq`. It processes them in
    /// order, so one that is acknowledged alone may wait for those before it.
    pub(crate) fn has_arrived(&self, seq: Seq) -> bool {
        let mut kept = self.kept.range(..=seq.0);
        !kept.any(|(_, kept)| kept.is_patient())
    }

    /// True if the agent has acknowledged every message before number `end`, and has processed none
    /// of them twice a short time ago. Probes do not count: they have no effect, once or twice.
    pub(crate) fn is_settled(&self, now: Instant, end: Seq) -> bool {
        let mut before = self.kept.range(..end.0);
        !before.any(|(_, kept)| kept.is_patient()) && !self.repeats.has_suspect(now, end.0)
    }
}
