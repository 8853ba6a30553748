//! Clock of the simulator. All other code in it takes the time as an argument.
#![expect(clippy::disallowed_methods, reason = "the clock enters here")]

use std::time::{Instant, SystemTime};

/// Returns the monotonic time.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Returns the wall clock time, for dates in messages and signatures.
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}
