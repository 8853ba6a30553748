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
        LogLevel::Error => Verbosity::Error,
        LogLevel::Warn => Verbosity::Warn,
        LogLevel::Info => Verbosity::Info,
        LogLevel::Debug => Verbosity::Debug,
        LogLevel::Trace => Verbosity::Trace,
    }
}
