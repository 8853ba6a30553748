//! The result of a check.

use std::time::Duration;

use crate::error_class::ErrorClass;
use crate::printable::Printable;

/// A check, in the order in which a connection needs what it checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The configuration file is found and valid.
    Configuration,
    /// The local addresses are free, or held by the running daemon.
    Listen,
    /// The AWS files, the profile and the region.
    AwsSettings,
    /// Credentials, and whose they are.
    Credentials,
    /// The clock of this machine, compared with that of AWS.
    Clock,
    /// DNS, TCP and TLS to the SSM API.
    ApiEndpoint,
    /// DNS, TCP and TLS to Session Manager.
    ChannelEndpoint,
    /// The target exists and is online, and its agent is recent enough.
    Target,
    /// The document exists and takes the parameters.
    Document,
    /// StartSession.
    StartSession,
    /// The signed websocket upgrade.
    Upgrade,
    /// The handshake with the agent.
    Handshake,
    /// A connection from the target to the destination.
    Destination,
    /// TerminateSession.
    SessionEnd,
}

impl Check {
    /// All checks, in their order.
    pub const ALL: [Self; 14] = [
        Self::Configuration,
        Self::Listen,
        Self::AwsSettings,
        Self::Credentials,
        Self::Clock,
        Self::ApiEndpoint,
        Self::ChannelEndpoint,
        Self::Target,
        Self::Document,
        Self::StartSession,
        Self::Upgrade,
        Self::Handshake,
        Self::Destination,
        Self::SessionEnd,
    ];

    /// Returns the name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Listen => "listen",
            Self::AwsSettings => "aws-settings",
            Self::Credentials => "credentials",
            Self::Clock => "clock",
            Self::ApiEndpoint => "ssm-endpoint",
            Self::ChannelEndpoint => "ssmmessages-endpoint",
            Self::Target => "target",
            Self::Document => "document",
            Self::StartSession => "start-session",
            Self::Upgrade => "websocket-upgrade",
            Self::Handshake => "handshake",
            Self::Destination => "destination",
            Self::SessionEnd => "session-end",
        }
    }

    /// Returns what the user can do about a check that has no result in time.
    pub(super) fn remedy_if_late(self) -> &'static str {
        match self {
            Self::Credentials => {
                "the source of the credentials does not answer: check the `credential_process` or the login of the profile; raise `--check-timeout` if it is only slow"
            }
            Self::ApiEndpoint | Self::Target | Self::Document | Self::StartSession => {
                "the SSM API does not answer: check the network, the proxy and `ssm_endpoint`; raise `--check-timeout` if it is only slow"
            }
            Self::ChannelEndpoint | Self::Upgrade => {
                "Session Manager does not answer: check the network, the proxy and `ssmmessages_endpoint`; raise `--check-timeout` if it is only slow"
            }
            Self::Handshake | Self::Destination => {
                "the agent does not answer: check that it runs, and that the target reaches the endpoint ssmmessages; raise `--check-timeout` if it is only slow"
            }
            Self::Configuration
            | Self::Listen
            | Self::AwsSettings
            | Self::Clock
            | Self::SessionEnd => "raise `--check-timeout` if it is only slow",
        }
    }

    /// Returns whether a connection can succeed although this check has no result: its calls need
    /// permissions that a connection does not need.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Self::Target | Self::Document)
    }
}

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// The forward or the account that was checked; `None`: everything.
    pub subject: Option<Printable>,
    /// The result.
    pub verdict: Verdict,
    /// What was found, or why nothing was checked.
    pub text: Printable,
    /// How long the check took.
    pub duration: Duration,
}

impl Finding {
    /// Creates the finding of a check outside of an examination.
    pub fn new(check: Check, verdict: Verdict, text: impl Into<Printable>) -> Self {
        Self {
            check,
            subject: None,
            verdict,
            text: text.into(),
            duration: Duration::ZERO,
        }
    }

    /// Creates the finding of a check outside of an examination, which has failed.
    pub fn failed(check: Check, failure: Failure) -> Self {
        let Failure {
            class,
            text,
            remedy,
        } = failure;
        Self::new(check, Verdict::Fail { class, remedy }, text)
    }
}

/// Whether a check has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has passed.
    Pass,
    /// It was not made, or its result is unknown and not needed.
    Skip,
    /// It has failed.
    Fail {
        /// The class of the failure.
        class: ErrorClass,
        /// What the user can do about it.
        remedy: Printable,
    },
}

/// What a check has found.
pub(super) enum CheckOutcome<T> {
    /// A value for later checks, and a text.
    Pass(T, Printable),
    /// Why there is no result.
    Skip(Printable),
    /// Why it has failed.
    Fail(Failure),
}

/// Why a check has failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The class of the failure.
    pub class: ErrorClass,
    /// What has failed.
    pub text: Printable,
    /// What the user can do about it.
    pub remedy: Printable,
}

impl Failure {
    /// Creates a failure. Without a `remedy`, that of the class is shown.
    pub fn new(
        class: ErrorClass,
        text: impl Into<Printable>,
        remedy: impl Into<Printable>,
    ) -> Self {
        let remedy = remedy.into();
        Self {
            class,
            text: text.into(),
            remedy: match remedy.is_empty() {
                true => class.remedy().into(),
                false => remedy,
            },
        }
    }

    /// Creates the failure of a call of AWS.
    pub(super) fn of_aws(error: &crate::session::Error) -> Self {
        Self::new(error.class(), Printable::of(error), error.hint())
    }

    /// Creates the failure of a tunnel.
    pub(super) fn of_tunnel(error: &crate::tunnel::Error) -> Self {
        Self::new(error.class(), Printable::of(error), error.hint())
    }
}

impl<T> From<Failure> for CheckOutcome<T> {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}
