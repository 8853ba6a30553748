//! Queries of the sender about acknowledged messages.

use std::time::{Duration, Instant};

use super::Sender;
use crate::wire::message::Seq;

impl Sender {
    /// Returns the oldest unacknowledged message from number `begin` on, probes excluded, and when
    /// its acknowledgement is overdue.
    pub(crate) fn oldest(&self, begin: Seq) -> Option<(Seq, Instant)> {
        let kept = self.kept.range(begin.0..);
        let mut patient = kept.filter(|(_, kept)| kept.is_normal());
        let (seq, kept) = patient.next()?;
        let overdue = match kept.attempts {
            1 => kept.sent + self.rtt.timeout(1),
            _ => kept.sent,
        };
        Some((Seq(*seq), overdue))
    }

    /// See [`crate::mutants::Mutant::WindowLeak`].
    #[cfg(test)]
    pub(crate) fn count_twice_if_mutant(&mut self) {
        if crate::mutants::Mutant::WindowLeak.is_active() {
            self.unacknowledged *= 2;
        }
    }

    /// Returns the shortest round trip of a message that was sent once; zero if none was measured.
    pub(crate) fn least_trip(&self) -> Duration {
        self.rtt.least().unwrap_or_default()
    }

    /// Returns true if the agent has acknowledged every message up to number `seq`. It processes
    /// them in order, so one that was acknowledged may still wait for an earlier one.
    pub(crate) fn has_arrived(&self, seq: Seq) -> bool {
        let mut kept = self.kept.range(..=seq.0);
        !kept.any(|(_, kept)| kept.is_normal())
    }

    /// Returns true if the agent has acknowledged every message before number `end`, and has not
    /// recently processed any of them twice. Probes do not count: they have no effect.
    pub(crate) fn is_settled(&self, now: Instant, end: Seq) -> bool {
        let mut before = self.kept.range(..end.0);
        !before.any(|(_, kept)| kept.is_normal()) && !self.repeats.has_suspect(now, end.0)
    }
}
