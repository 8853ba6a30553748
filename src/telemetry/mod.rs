//! What can be seen from outside.

mod log;

pub use self::log::{Format, Log, LogError, Verbosity};
