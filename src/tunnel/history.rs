//! History of a tunnel: when it reached its stages, and how long it had no working websocket.

use std::time::{Duration, Instant};

use crate::printable::Printable;

/// When a tunnel reached its stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Milestones {
    /// The first websocket was connected.
    pub websocket: Option<Instant>,
    /// The agent's handshake was complete.
    pub handshake: Option<Instant>,
    /// The agent was ready for data.
    pub ready: Option<Instant>,
}

/// History of a tunnel. Of its outages it keeps those that may be the longest since some time.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) milestones: Milestones,
    /// Version of the agent, once the tunnel is ready.
    pub(super) agent_version: Option<Printable>,
    /// When the websocket broke that is being replaced.
    disconnected: Option<Instant>,
    resumes: u32,
    /// Ends and lengths of outages, each shorter than the one before.
    outages: Vec<(Instant, Duration)>,
}

impl History {
    /// The websocket of a ready tunnel broke.
    pub(super) fn handle_disconnected(&mut self, now: Instant) {
        self.disconnected.get_or_insert(now);
    }

    /// Another websocket works.
    pub(super) fn handle_resumed(&mut self, now: Instant) {
        self.resumes += 1;
        let Some(begin) = self.disconnected.take() else {
            return;
        };
        let length = now.saturating_duration_since(begin);
        while self.outages.last().is_some_and(|(_, last)| *last <= length) {
            self.outages.pop();
        }
        if self.outages.len() < MAX_OUTAGES {
            self.outages.push((now, length));
        }
    }

    /// Returns how many websockets replaced a broken one.
    pub(super) fn resumes(&self) -> u32 {
        self.resumes
    }

    /// Returns the length of the longest outage since `since`, also of one that lasts.
    pub(super) fn longest_outage(&self, since: Instant, now: Instant) -> Duration {
        let outages = self.outages.iter();
        // Only the part since then.
        let ended =
            outages.map(|(end, length)| (*length).min(end.saturating_duration_since(since)));
        let current = self
            .disconnected
            .map(|begin| now.saturating_duration_since(begin.max(since)));
        ended.chain(current).max().unwrap_or_default()
    }
}

/// Maximum number of outages kept; shorter ones than all of these are not recorded.
const MAX_OUTAGES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_longest_outage_is_known_since_any_time() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut history = History::default();
        for (begin, end) in [(10, 15), (20, 28), (30, 31), (40, 43)] {
            history.handle_disconnected(at(begin));
            history.handle_disconnected(at(end - 1));
            history.handle_resumed(at(end));
        }

        let longest = |since| history.longest_outage(at(since), at(50)).as_secs();

        assert_eq!([0, 15, 24, 27, 43].map(longest), [8, 8, 4, 3, 0]);
        assert_eq!(history.resumes(), 4);
    }

    #[test]
    fn an_outage_that_lasts_counts_so_far() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut history = History::default();
        history.handle_disconnected(at(10));

        assert_eq!(history.longest_outage(at(0), at(70)).as_secs(), 60);
        assert_eq!(history.longest_outage(at(65), at(70)).as_secs(), 5);
    }

    #[test]
    fn the_list_of_outages_is_bounded() {
        let start = clock::now();
        let mut history = History::default();
        let mut now = start;
        for length in (1..1000).rev() {
            history.handle_disconnected(now);
            now += Duration::from_secs(length);
            history.handle_resumed(now);
        }

        assert_eq!(history.outages.len(), MAX_OUTAGES);
        assert_eq!(history.longest_outage(start, now).as_secs(), 999);
        assert_eq!(history.resumes(), 999);
    }
}
