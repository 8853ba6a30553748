//! When a session reached its stages, and how long a connection waited in each.

use std::time::Instant;

use crate::session::StartStage;
use crate::telemetry::{Stage, StageTimes};
use crate::tunnel::Milestones;

/// When a session reached its stages. Starting on another target begins again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionTimeline {
    /// The rate limit of StartSession permitted the call.
    permitted: Option<Instant>,
    /// There were credentials.
    credentials: Option<Instant>,
    /// StartSession succeeded.
    started: Option<Instant>,
    milestones: Milestones,
}

impl SessionTimeline {
    /// The start of the session waits for another step.
    pub(super) fn handle_stage(&mut self, now: Instant, stage: StartStage) {
        match stage {
            StartStage::Resolving | StartStage::FindingTask | StartStage::RateLimit => {
                *self = Self::default();
            }
            StartStage::Credentials => self.permitted = Some(now),
            StartStage::Calling => self.credentials = Some(now),
        }
    }

    /// StartSession succeeded, and the tunnel has reached these stages.
    pub(super) fn with_tunnel(self, started: Instant, milestones: Milestones) -> Self {
        Self {
            started: Some(started),
            milestones,
            ..self
        }
    }

    /// Returns the stage that the session is in. It is in `Queued` before the first and after the
    /// last of its own.
    pub(super) fn stage(&self) -> Stage {
        let stages = self.stages().into_iter();
        let current = stages.filter(|(_, begin, end)| begin.is_some() && end.is_none());
        current
            .map(|(stage, ..)| stage)
            .next_back()
            .unwrap_or(Stage::Queued)
    }

    /// Returns how long a connection that waited from `begin` to `end` was in each stage. What is
    /// not the time of a stage of the session, the connection was queued.
    pub(super) fn times(&self, begin: Instant, end: Instant) -> StageTimes {
        let mut times = StageTimes::default();
        let mut rest = end.saturating_duration_since(begin);
        for (stage, from, to) in self.stages() {
            let Some(from) = from else { continue };
            let to = to.unwrap_or(end).min(end);
            let time = to.saturating_duration_since(from.max(begin));
            rest = rest.saturating_sub(time);
            times.set(stage, time);
        }
        times.set(Stage::Queued, rest);
        times
    }

    /// Returns the stages of the session, and when each began and ended.
    fn stages(&self) -> [(Stage, Option<Instant>, Option<Instant>); 5] {
        let Milestones {
            websocket,
            handshake,
            ready,
        } = self.milestones;
        [
            (Stage::Credentials, self.permitted, self.credentials),
            (Stage::StartSession, self.credentials, self.started),
            (Stage::Websocket, self.started, websocket),
            (Stage::Handshake, websocket, handshake),
            (Stage::Ready, handshake, ready),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    /// Reaches one stage per second, from second 1.
    fn timeline(start: Instant) -> SessionTimeline {
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timeline = SessionTimeline::default();
        timeline.handle_stage(at(0), StartStage::RateLimit);
        timeline.handle_stage(at(1), StartStage::Credentials);
        timeline.handle_stage(at(2), StartStage::Calling);
        timeline.started = Some(at(3));
        timeline.milestones = Milestones {
            websocket: Some(at(4)),
            handshake: Some(at(5)),
            ready: Some(at(6)),
        };
        timeline
    }

    fn seconds(times: &StageTimes) -> Vec<(Stage, u64)> {
        let times = times.iter();
        times.map(|(stage, time)| (stage, time.as_secs())).collect()
    }

    #[test]
    fn the_stages_of_a_connection_add_up_to_the_time_it_waited() {
        let start = clock::now();
        let timeline = timeline(start);

        for (begin, end, expected) in [
            (0, 6, [1, 1, 1, 1, 1, 1]),
            // It came while StartSession was called, and got its slot late.
            (2, 9, [3, 0, 1, 1, 1, 1]),
            // The session was warm.
            (20, 21, [1, 0, 0, 0, 0, 0]),
        ] {
            let [begin, end] = [begin, end].map(|at| start + Duration::from_secs(at));
            let times = timeline.times(begin, end);

            let stages = Stage::ALL.into_iter().zip(expected);
            assert_eq!(seconds(&times), stages.collect::<Vec<_>>());
            let sum: Duration = times.iter().map(|(_, time)| time).sum();
            assert_eq!(sum, end - begin);
        }
    }

    #[test]
    fn stages_that_were_not_reached_have_no_time() {
        let start = clock::now();
        let mut timeline = timeline(start);
        timeline.milestones = Milestones::default();

        let times = timeline.times(start, start + Duration::from_secs(9));

        let expected = [
            (Stage::Queued, 1),
            (Stage::Credentials, 1),
            (Stage::StartSession, 1),
            (Stage::Websocket, 6),
        ];
        assert_eq!(seconds(&times), expected);
        assert_eq!(timeline.stage(), Stage::Websocket);
    }

    #[test]
    fn another_target_begins_again() {
        let start = clock::now();
        let mut timeline = timeline(start);
        assert_eq!(timeline.stage(), Stage::Queued);

        timeline.handle_stage(start + Duration::from_secs(7), StartStage::RateLimit);

        let times = timeline.times(start, start + Duration::from_secs(8));
        assert_eq!(seconds(&times), [(Stage::Queued, 8)]);
    }
}
