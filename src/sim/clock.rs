//! Where the simulator reads the clock; everything else in it takes the time as an argument.
#![expect(clippy::disallowed_methods, reason = "the clock enters here")]

use std::time::{Instant, SystemTime};

/// The time that only goes forward.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The time of day, for dates in messages and signatures.
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}
