//! The clock: the only file that reads the time. All other code takes the time from here, or as an
//! argument.
#![expect(clippy::disallowed_methods, reason = "the clock is read here")]

#[cfg(test)]
pub mod virtual_time;

use std::time::{Duration, Instant, SystemTime};

/// Returns the monotonic time of tokio's clock, which a test can pause.
pub fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = virtual_time::now() {
        return now;
    }
    tokio::time::Instant::now().into_std()
}

/// Returns the time since `earlier`; zero if that is later than now.
pub fn since(earlier: Instant) -> Duration {
    now().saturating_duration_since(earlier)
}

/// Returns the wall clock time, which may jump when it is set.
pub fn wall() -> SystemTime {
    #[cfg(test)]
    if let Some(wall) = virtual_time::wall() {
        return wall;
    }
    SystemTime::now()
}
