//! Token bucket for StartSession calls, like the rate limit of an AWS account.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::json_bounds;

/// Rate limit of StartSession calls; that of AWS is not published (docs/protocol.md, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Calls per second; at least 1.
    #[serde(deserialize_with = "json_bounds::every")]
    pub rate: u32,
    /// Burst size in calls; at least 1.
    #[serde(deserialize_with = "json_bounds::every")]
    pub burst: u32,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Time and level of the last call; `None` before the first.
    level: Option<(Instant, f64)>,
}

impl Bucket {
    /// Takes a token; returns false if none is available.
    pub(super) fn take(&mut self, now: Instant, limit: Throttle) -> bool {
        let most = f64::from(limit.burst);
        let level = self.level.map_or(most, |(at, level)| {
            let grown = (now - at).as_secs_f64() * f64::from(limit.rate);
            (level + grown).min(most)
        });
        let taken = level >= 1.0;
        self.level = Some((now, if taken { level - 1.0 } else { level }));
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn calls_pass_up_to_the_burst_and_then_at_the_rate() {
        let start = clock::now();
        let limit = Throttle { rate: 10, burst: 5 };
        let mut bucket = Bucket::default();
        let taken = |bucket: &mut Bucket, millis| {
            let now = start + Duration::from_millis(millis);
            (0..100).filter(|_| bucket.take(now, limit)).count()
        };

        assert_eq!(taken(&mut bucket, 0), 5);
        assert_eq!(taken(&mut bucket, 99), 0);
        assert_eq!(taken(&mut bucket, 201), 2);
        assert_eq!(taken(&mut bucket, 60_000), 5);
    }
}
