//! Limits log lines that anyone who can connect to the relay may cause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind: some at once, then one per second. The others are counted.
#[derive(Debug)]
pub(super) struct LogLimit(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Lines that may be logged now.
    left: u32,
    /// When `left` grew last.
    grown_at: Option<Instant>,
    omitted: u64,
}

/// A line that is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Lines that were left out since the last one, if there are any.
    pub(super) omitted: Option<u64>,
}

impl LogLimit {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Bucket {
            left: BURST,
            grown_at: None,
            omitted: 0,
        }))
    }

    /// Returns the line to log, or counts it and returns `None`.
    pub(super) fn admit(&self, now: Instant) -> Option<Line> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.grow(now);
        match bucket.left.checked_sub(1) {
            Some(left) => {
                bucket.left = left;
                let omitted = std::mem::take(&mut bucket.omitted);
                let omitted = Some(omitted).filter(|omitted| *omitted > 0);
                Some(Line { omitted })
            }
            None => {
                bucket.omitted += 1;
                None
            }
        }
    }
}

impl Bucket {
    fn grow(&mut self, now: Instant) {
        let grown_at = *self.grown_at.get_or_insert(now);
        let periods = now.saturating_duration_since(grown_at).as_secs() / PERIOD.as_secs();
        let added = u32::try_from(periods).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(added).min(BURST);
        self.grown_at = Some(grown_at + PERIOD * added);
    }
}

/// Lines at once.
const BURST: u32 = 60;

/// Afterwards, one line each time this has passed.
const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let (start, limit) = (clock::now(), LogLimit::new());
        let at = |millis| limit.admit(start + Duration::from_millis(millis));

        let logged = (0..10_000).filter(|n| at(n / 10).is_some()).count();

        assert_eq!(logged, usize::try_from(BURST).unwrap());
        let omitted = Some(10_000 - u64::from(BURST));
        assert_eq!(at(1_000), Some(Line { omitted }));
        assert_eq!(at(1_999), None);
        assert_eq!(at(2_000), Some(Line { omitted: Some(1) }));
        let rested = (0..1_000).filter(|_| at(10_000_000).is_some()).count();
        assert_eq!(rested, usize::try_from(BURST).unwrap());
    }
}
