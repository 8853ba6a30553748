//! Exit codes (docs/interfaces.md, section 5).

use std::process::ExitCode;

use crate::daemon::StartError;
use crate::session::ErrorKind;

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
        match error {
            StartError::Aws(source) | StartError::Forward { source, .. } => source.kind().into(),
            StartError::Unfinished { .. } => Self::TryAgain,
            StartError::Roots(_)
            | StartError::Proxy(_)
            | StartError::AdminMoved
            | StartError::Log(_) => Self::Configuration,
            StartError::Listen { .. } | StartError::Http(_) | StartError::Admin(_) => {
                Self::CannotListen
            }
            StartError::Stdio(_) => Self::Failed,
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::TargetNotConnected
            | ErrorKind::Unreachable
            | ErrorKind::Proxy
            | ErrorKind::ServiceFault
            | ErrorKind::NotAws
            | ErrorKind::SessionEnded => Self::Unavailable,
            ErrorKind::Internal => Self::Failed,
            ErrorKind::Throttled | ErrorKind::Shortage => Self::TryAgain,
            ErrorKind::Denied | ErrorKind::Credentials | ErrorKind::Role | ErrorKind::Profile => {
                Self::Refused
            }
            ErrorKind::Document
            | ErrorKind::Invalid
            | ErrorKind::InvalidEndpoint
            | ErrorKind::Region => Self::Configuration,
        }
    }
}
