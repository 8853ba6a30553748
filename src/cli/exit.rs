//! Exit codes (docs/interfaces.md, section 5).

use std::process::ExitCode;

use crate::daemon::StartError;
use crate::error_class::ErrorClass;

/// Result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed while running.
    Failed,
    /// 2: bad usage.
    Usage,
    /// 69: the target or Session Manager is unavailable.
    Unavailable,
    /// 71: cannot listen on a local address.
    CannotListen,
    /// 75: timed out or throttled; retry later.
    TryAgain,
    /// 77: AWS denied access.
    Refused,
    /// 78: invalid configuration.
    Configuration,
    /// Exit code of the executed command; 126 or 127 if it could not be run.
    Command(u8),
    /// Terminated by a signal: 128 plus its number.
    Signal(u8),
}

impl Exit {
    /// Returns the numeric code, from `sysexits.h` where one exists.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::CannotListen => 71,
            Self::TryAgain => 75,
            Self::Refused => 77,
            Self::Configuration => 78,
            Self::Command(code) => code,
            Self::Signal(number) => 128 + number,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Exit code of a failed start.
impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Self {
        error.class().into()
    }
}

/// Exit code of a failure of this class.
impl From<ErrorClass> for Exit {
    fn from(class: ErrorClass) -> Self {
        match class.exit_code() {
            69 => Self::Unavailable,
            71 => Self::CannotListen,
            75 => Self::TryAgain,
            77 => Self::Refused,
            78 => Self::Configuration,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_the_exit_code_of_the_catalogue() {
        for class in ErrorClass::ALL {
            assert_eq!(Exit::from(*class).code(), class.exit_code(), "{class}");
        }
    }
}
