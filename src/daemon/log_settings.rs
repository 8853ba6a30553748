//! Conversion of the `[log]` settings.

use crate::config::{LogFormat, LogLevel};
use crate::telemetry::{Format, Verbosity};

/// Returns the log format of a setting.
pub fn log_format(format: LogFormat) -> Format {
    match format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
        LogFormat::Journald => Format::Journald,
    }
}

/// Returns the verbosity of a level.
pub fn log_verbosity(level: LogLevel) -> Verbosity {
    match level {
        LogLevel::Error => Verbosity::Faults,
        LogLevel::Warn => Verbosity::Quiet,
        LogLevel::Info => Verbosity::Normal,
        LogLevel::Debug => Verbosity::Verbose,
        LogLevel::Trace => Verbosity::Everything,
    }
}
