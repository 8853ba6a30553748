//! Detects when the agent processes what it acknowledges.
//!
//! An acknowledgement alone does not show that. After HandshakeComplete an agent passes through
//! three phases (docs/protocol.md, section 5.1):
//!
//! ```text
//!   HandshakeComplete ──▶ discards         ──▶ refuses          ──▶ processes
//!                         acknowledged,        not acknowledged     acknowledged
//!                         and lost
//! ```
//!
//! The agent is known to be ready once it was seen to refuse. It reads messages in order and
//! acknowledges early messages immediately, so two probes are sent together: if the second is
//! acknowledged and the first is not, the first was refused. The discard phase is then over, and
//! once the first probe is acknowledged, it was processed. This is independent of the round trip.
//!
//! The refusal phase can be shorter than the gap between two probes, or over before the first one
//! arrives. The agent is then assumed to be ready when it has read a probe a minimum time after it
//! sent HandshakeComplete. On a short path a refusal is usually seen, and an agent without one may
//! still be discarding, so the minimum is [`SETTLED_NEAR`] there and [`SETTLED`] elsewhere; on a
//! path with a longer round trip every probe is late enough. Elapsed time is no proof: see
//! `proto/start_check.rs` for the check that follows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Readiness probes of one tunnel and the result of their acknowledgements.
#[derive(Debug)]
pub(super) struct Readiness {
    /// When HandshakeComplete was received.
    completed: Instant,
    /// True if a discarded first message would be detected.
    is_checked: bool,
    /// The number of the next probe. Probes have their own numbering.
    next: u32,
    unanswered: BTreeSet<u32>,
    /// When the next probes are sent, and how many.
    due: Option<(Instant, u32)>,
    /// True once a probe was refused.
    refused: bool,
    /// The shortest time from a probe to its acknowledgement.
    round_trip: Option<Duration>,
}

impl Readiness {
    /// Starts probing. HandshakeComplete was received at `now`. `is_checked` is true if it would be
    /// detected that the agent discarded the first data.
    pub(super) fn new(now: Instant, is_checked: bool) -> Self {
        Self {
            completed: now,
            is_checked,
            next: 0,
            unanswered: BTreeSet::new(),
            due: Some((now, PAIR)),
            refused: false,
            round_trip: None,
        }
    }

    /// A new websocket is open. Probes may have been lost with the old one, which would look like a
    /// refusal, so only new probes count.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        self.unanswered.clear();
        self.due = Some((now, PAIR));
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due.map(|(at, _)| at)
    }

    /// Returns the number of a probe to send, if one is due.
    pub(super) fn poll_probe(&mut self, now: Instant) -> Option<u32> {
        let (at, count) = self.due.filter(|(at, _)| *at <= now)?;
        let probe = self.next;
        self.next += 1;
        self.unanswered.insert(probe);
        self.due = match count > 1 {
            true => Some((at, count - 1)),
            // Probes follow each other without a wait, so that one meets the refusal phase.
            false if self.is_near() => (self.next < MAX_PROBES).then_some((now + NEXT, 1)),
            // A probe that is late enough for any round trip.
            false if self.is_checked && self.next == PAIR => Some((now + SETTLED_CHECKED, 1)),
            false => None,
        };
        Some(probe)
    }

    /// Returns true if a refusal was seen, so that the discard phase is over.
    pub(super) fn is_proved(&self) -> bool {
        self.refused
    }

    fn settled(&self, round_trip: Duration) -> Duration {
        match self.is_near() {
            true => SETTLED_NEAR,
            false if self.is_checked => SETTLED.min(round_trip + SETTLED_CHECKED),
            false => SETTLED,
        }
    }

    fn is_near(&self) -> bool {
        self.round_trip.is_some_and(|round_trip| round_trip < NEAR)
    }

    /// A probe first sent at `sent` was acknowledged. Returns true if the agent is ready.
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
        // HandshakeComplete and the probe were in flight for one round trip in total.
        let read_after = sent.saturating_duration_since(self.completed) + round_trip;
        let settled = self.settled(round_trip);
        if self.refused || read_after >= settled {
            return true;
        }
        if self.due.is_some() && self.is_near() {
            return false;
        }
        let next = match self.unanswered.is_empty() && !self.is_near() {
            true => (self.completed + settled.saturating_sub(round_trip)).max(now + NEXT),
            // A later probe shows whether this one was refused.
            false => now + NEXT,
        };
        self.due = (self.next < MAX_PROBES).then_some((next, 1));
        false
    }
}

/// Number of probes sent together.
const PAIR: u32 = 2;

/// Delay before the probe that follows one whose successor is not yet acknowledged.
/// Acknowledgements of two accepted probes arrive together.
const NEXT: Duration = Duration::from_millis(1);

/// No agent was observed to discard for longer than this. It would require that one thread of the
/// agent is not scheduled for this long, at one particular instruction, while another one reads.
const SETTLED: Duration = Duration::from_millis(10);

/// Maximum wait, beyond the round trip, of a tunnel that would detect a loss.
const SETTLED_CHECKED: Duration = Duration::from_millis(3);

/// [`SETTLED`] on a path with a round trip below [`NEAR`], where few tunnels have to wait for it.
const SETTLED_NEAR: Duration = Duration::from_millis(25);

/// On a shorter path the first probes arrive before most agents are ready (docs/protocol.md,
/// section 0.2: 0.2 to 2.1 ms).
const NEAR: Duration = Duration::from_millis(1);

/// More are needed only on a path that loses messages; each is then sent until acknowledged.
const MAX_PROBES: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);

    /// Takes the due probes and returns their numbers.
    fn probes(readiness: &mut Readiness, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| readiness.poll_probe(now)).collect()
    }

    #[test]
    fn a_later_probe_that_is_acknowledged_first_proves_readiness() {
        let start = clock::now();
        let mut readiness = Readiness::new(start, false);
        assert_eq!(probes(&mut readiness, start), [0, 1]);

        assert!(!readiness.handle_answer(start + MS, 1, start));
        assert!(readiness.handle_answer(start + 2 * MS, 0, start));
    }

    #[test]
    fn acknowledgements_in_order_prove_nothing_before_the_agent_has_settled() {
        for (round_trip, is_checked, settled) in [
            (MS / 2, false, SETTLED_NEAR),
            (MS / 2, true, SETTLED_NEAR),
            (2 * MS, false, SETTLED),
            (2 * MS, true, 5 * MS),
            (9 * MS, true, SETTLED),
        ] {
            let start = clock::now();
            let mut readiness = Readiness::new(start, is_checked);
            let mut sent: Vec<_> = probes(&mut readiness, start)
                .into_iter()
                .map(|p| (start, p))
                .collect();

            let ready = 'ready: loop {
                assert!(!sent.is_empty(), "a probe is always under way");
                for (left, probe) in std::mem::take(&mut sent) {
                    if readiness.handle_answer(left + round_trip, probe, left) {
                        break 'ready left + round_trip;
                    }
                }
                if let Some(due) = readiness.due() {
                    sent.extend(probes(&mut readiness, due).into_iter().map(|p| (due, p)));
                }
            };

            let late = ready - start;
            assert!(late >= settled, "{late:?}");
            assert!(late < settled + 2 * MS + round_trip, "{late:?}");
        }
    }

    #[test]
    fn probes_follow_each_other_on_a_short_path_until_one_is_refused() {
        let start = clock::now();
        let mut readiness = Readiness::new(start, false);
        probes(&mut readiness, start);
        let answered = start + MS / 5;
        assert!(!readiness.handle_answer(answered, 0, start), "discarded");
        assert!(!readiness.handle_answer(answered, 1, start), "discarded");

        let second = readiness.due().unwrap();
        assert_eq!(probes(&mut readiness, second), [2]);
        let third = readiness.due().unwrap();
        assert_eq!(probes(&mut readiness, third), [3]);
        assert!(!readiness.handle_answer(third + MS, 3, third));

        assert_eq!(readiness.due(), None, "2 was refused");
        assert!(readiness.handle_answer(third + 2 * MS, 2, second));
    }

    #[test]
    fn a_long_round_trip_needs_no_more_time() {
        let start = clock::now();
        let mut readiness = Readiness::new(start, false);
        probes(&mut readiness, start);

        assert!(readiness.handle_answer(start + SETTLED, 0, start));
    }

    #[test]
    fn a_third_probe_shows_that_the_second_was_refused() {
        let start = clock::now();
        let mut readiness = Readiness::new(start, false);
        probes(&mut readiness, start);

        assert!(
            !readiness.handle_answer(start + MS / 2, 0, start),
            "discarded"
        );
        let due = readiness.due().unwrap();
        assert_eq!(probes(&mut readiness, due), [2]);

        assert!(!readiness.handle_answer(due + MS / 2, 2, due));
        assert!(readiness.handle_answer(due + MS, 1, start));
    }

    #[test]
    fn probes_of_a_broken_websocket_prove_nothing() {
        let start = clock::now();
        let mut readiness = Readiness::new(start, false);
        probes(&mut readiness, start);

        readiness.handle_connected(start + MS);
        assert_eq!(probes(&mut readiness, start + MS), [2, 3]);

        assert!(!readiness.handle_answer(start + 2 * MS, 1, start));
        assert!(!readiness.handle_answer(start + 2 * MS, 0, start));
    }
}
