//! Whether the agent processes what it acknowledges.
//!
//! One acknowledgement does not prove that. After HandshakeComplete an agent passes three phases
//! (protocol.md section 5.1):
//!
//! ```text
//!   HandshakeComplete ──▶ discards         ──▶ refuses          ──▶ processes
//!                         acknowledged,        not acknowledged     acknowledged
//!                         and lost
//! ```
//!
//! The proof is that the agent was seen to refuse. It reads messages in order and acknowledges at
//! once what arrives before its turn, so two probes leave together: if the second is acknowledged
//! and the first is not, the first was refused. The discarding is over, and when the first probe is
//! acknowledged in the end, it was processed. This holds whatever the round trip is.
//!
//! The phase of refusal can be shorter than the gap between two probes, or over before the first
//! one arrives. Then a probe counts that the agent read at least [`SETTLED`] after it sent
//! HandshakeComplete; on a path with a longer round trip every probe is such a one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The probes of one tunnel and what their acknowledgements tell.
#[derive(Debug)]
pub(super) struct Readiness {
    /// When HandshakeComplete came.
    completed: Instant,
    /// The number of the next probe, in a count of its own.
    next: u32,
    unanswered: BTreeSet<u32>,
    /// How many probes are to leave, and when.
    due: Option<(Instant, u32)>,
    /// A probe was refused.
    refused: bool,
    /// The shortest time from a probe to its acknowledgement.
    round_trip: Option<Duration>,
}

impl Readiness {
    /// HandshakeComplete came now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            completed: now,
            next: 0,
            unanswered: BTreeSet::new(),
            due: Some((now, PAIR)),
            refused: false,
            round_trip: None,
        }
    }

    /// A new websocket is open. The old one may have lost any probe, which would look like a
    /// refusal, so only new probes count.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        self.unanswered.clear();
        self.due = Some((now, PAIR));
    }

    /// When the next probe is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.map(|(at, _)| at)
    }

    /// The number of a probe that is due, if one is.
    pub(super) fn poll_probe(&mut self, now: Instant) -> Option<u32> {
        let (at, count) = self.due.filter(|(at, _)| *at <= now)?;
        self.due = (count > 1).then_some((at, count - 1));
        let probe = self.next;
        self.next += 1;
        self.unanswered.insert(probe);
        Some(probe)
    }

    /// A probe that first left at `sent` was acknowledged. True if the agent is ready.
    pub(super) fn handle_answer(&mut self, now: Instant, probe: u32, sent: Instant) -> bool {
        if !self.unanswered.remove(&probe) {
            return false;
        }
        let trip = now.saturating_duration_since(sent);
        let round_trip = self.round_trip.map_or(trip, |shortest| shortest.min(trip));
        self.round_trip = Some(round_trip);
        if self.unanswered.first().is_some_and(|first| *first < probe) {
            self.refused = true;
            self.due = None;
            return false;
        }
        // HandshakeComplete and the probe were under way for one round trip together.
        let read_after = sent.saturating_duration_since(self.completed) + round_trip;
        if self.refused || read_after >= SETTLED {
            return true;
        }
        let next = match self.unanswered.is_empty() {
            true => (self.completed + SETTLED.saturating_sub(round_trip)).max(now + NEXT),
            // If the other one was refused, a later one shows it.
            false => now + NEXT,
        };
        self.due = (self.next < MAX_PROBES).then_some((next, 1));
        false
    }
}

/// Probes that leave together.
const PAIR: u32 = 2;

/// How soon another probe follows one whose successor is not yet acknowledged. Acknowledgements of
/// two that were both accepted come together.
const NEXT: Duration = Duration::from_millis(1);

/// Agents that discard for longer than this were not seen. One thread of the agent would have to be
/// kept from running for as long, at one certain instruction, while another one reads.
const SETTLED: Duration = Duration::from_millis(10);

/// Only a path that loses messages needs more; then each is repeated until it is acknowledged.
const MAX_PROBES: u32 = 64;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends what is due and returns the numbers.
    fn probes(readiness: &mut Readiness, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| readiness.poll_probe(now)).collect()
    }

    #[test]
    fn a_later_probe_that_is_acknowledged_first_proves_readiness() {
        let start = Instant::now();
        let mut readiness = Readiness::new(start);
        assert_eq!(probes(&mut readiness, start), [0, 1]);

        assert!(!readiness.handle_answer(start + MS, 1, start));
        assert!(readiness.handle_answer(start + 2 * MS, 0, start));
    }

    #[test]
    fn acknowledgements_in_order_prove_nothing_before_the_agent_has_settled() {
        let start = Instant::now();
        let mut readiness = Readiness::new(start);
        probes(&mut readiness, start);

        assert!(!readiness.handle_answer(start + MS, 0, start));
        assert!(!readiness.handle_answer(start + MS, 1, start));

        let due = readiness.due().unwrap();
        assert_eq!(due, start + SETTLED - MS, "one round trip is credited");
        assert_eq!(probes(&mut readiness, due), [2]);
        assert!(readiness.handle_answer(due + MS, 2, due));
    }

    #[test]
    fn a_long_round_trip_needs_no_more_time() {
        let start = Instant::now();
        let mut readiness = Readiness::new(start);
        probes(&mut readiness, start);

        assert!(readiness.handle_answer(start + SETTLED, 0, start));
    }

    #[test]
    fn a_second_probe_that_was_refused_is_told_by_a_third() {
        let start = Instant::now();
        let mut readiness = Readiness::new(start);
        probes(&mut readiness, start);

        assert!(!readiness.handle_answer(start + MS, 0, start), "discarded");
        let due = readiness.due().unwrap();
        assert_eq!(probes(&mut readiness, due), [2]);

        assert!(!readiness.handle_answer(due + MS, 2, due));
        assert!(readiness.handle_answer(due + 2 * MS, 1, start));
    }

    #[test]
    fn probes_of_a_broken_websocket_prove_nothing() {
        let start = Instant::now();
        let mut readiness = Readiness::new(start);
        probes(&mut readiness, start);

        readiness.handle_connected(start + MS);
        assert_eq!(probes(&mut readiness, start + MS), [2, 3]);

        assert!(!readiness.handle_answer(start + 2 * MS, 1, start));
        assert!(!readiness.handle_answer(start + 2 * MS, 0, start));
    }
}
