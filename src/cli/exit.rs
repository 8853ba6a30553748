//! Exit codes, as a type (interfaces.md section 5).

use std::process::ExitCode;

use crate::daemon::StartError;
use crate::session::Kind;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed while running.
    Failed,
    /// 2: bad usage.
    Usage,
    /// 69: the target or the service is unavailable.
    Unavailable,
    /// 71: a local address cannot be listened on.
    CannotListen,
    /// 75: timed out or throttled; try again.
    TryAgain,
    /// 77: AWS refused the caller.
    Refused,
    /// 78: bad configuration.
    Configuration,
    /// The command that was run has ended with this code, or could not be run: 126, 127.
    Command(u8),
    /// 128 and the number of the signal that ended it.
    Signal(u8),
}

impl Exit {
    /// The number, as `sysexits.h` has it where it has one.
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

/// Of a command that could not start.
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
            StartError::Standard(_) => Self::Failed,
        }
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::TargetNotConnected
            | Kind::Unreachable
            | Kind::Proxy
            | Kind::ServiceFault
            | Kind::Stranger
            | Kind::Ended => Self::Unavailable,
            Kind::Internal => Self::Failed,
            Kind::Throttled | Kind::Shortage => Self::TryAgain,
            Kind::Denied | Kind::Credentials | Kind::Role | Kind::Profile => Self::Refused,
            Kind::Document | Kind::Invalid | Kind::Endpoint | Kind::Region => Self::Configuration,
        }
    }
}
