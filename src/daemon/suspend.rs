//! Detects that the machine was suspended.
//!
//! The monotonic clock stops during a suspend, and the wall clock does not. Both are read every few
//! seconds; a wall clock that has run ahead indicates a suspend.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::clock;

#[derive(Debug)]
pub(super) struct SuspendDetector {
    monotonic: Instant,
    wall: SystemTime,
    /// An interval keeps its deadline when [`SuspendDetector::resumed`] is cancelled.
    ticks: Interval,
}

impl SuspendDetector {
    pub(super) fn new() -> Self {
        Self::every(INTERVAL)
    }

    fn every(period: Duration) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            monotonic: clock::now(),
            wall: clock::wall(),
            ticks,
        }
    }

    /// Waits until the machine has resumed from a suspend. Cancel safe.
    pub(super) async fn resumed(&mut self) {
        loop {
            self.ticks.tick().await;
            if self.check(clock::now(), clock::wall()) {
                return;
            }
        }
    }

    fn check(&mut self, monotonic: Instant, wall: SystemTime) -> bool {
        let awake = monotonic.saturating_duration_since(self.monotonic);
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        (self.monotonic, self.wall) = (monotonic, wall);
        passed > awake + MIN_SUSPEND
    }
}

/// Interval at which the clocks are read.
const INTERVAL: Duration = Duration::from_secs(5);

/// Minimum detected suspend. Corrections of the wall clock are smaller.
const MIN_SUSPEND: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_suspend_is_detected_although_the_wait_is_often_cancelled() {
        let mut suspend_detector = SuspendDetector::every(Duration::from_millis(50));
        // The first tick of an interval completes immediately.
        suspend_detector.ticks.tick().await;
        suspend_detector.wall -= Duration::from_secs(3600);

        let mut interruptions = 0;
        while timeout(Duration::from_millis(5), suspend_detector.resumed())
            .await
            .is_err()
        {
            interruptions += 1;
            assert!(interruptions < 2000, "not noticed within ten seconds");
        }
    }

    #[tokio::test]
    async fn a_wall_clock_that_ran_ahead_is_a_suspend_and_is_reported_once() {
        let mut suspend_detector = SuspendDetector::new();
        let (monotonic, wall) = (
            suspend_detector.monotonic + INTERVAL,
            suspend_detector.wall + INTERVAL,
        );

        assert!(!suspend_detector.check(monotonic, wall));
        assert!(suspend_detector.check(monotonic + INTERVAL, wall + Duration::from_secs(3600)));
        assert!(!suspend_detector.check(
            monotonic + 2 * INTERVAL,
            wall + Duration::from_secs(3600) + INTERVAL
        ));
    }

    #[tokio::test]
    async fn a_wall_clock_that_is_set_back_is_no_suspend() {
        let mut suspend_detector = SuspendDetector::new();

        assert!(!suspend_detector.check(
            suspend_detector.monotonic + INTERVAL,
            suspend_detector.wall - Duration::from_secs(60)
        ));
    }
}
