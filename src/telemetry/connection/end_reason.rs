//! The reasons for which a connection ends: name, who ended it, and a sentence for each.
//!
//! The names are stable: the access log and the metrics use them. `docs/access-log.md` lists them
//! all; a test compares it with this file.

use std::fmt;

use crate::error_class::ErrorClass;

/// Defines [`EndReason`] from rows of variant, name, party and sentence.
macro_rules! reasons {
    ($($variant:ident $name:literal $party:ident $summary:literal;)+) => {
        /// Reason for the end of a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum EndReason {
            $(#[doc = $summary] $variant,)+
        }

        impl EndReason {
            /// All reasons, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the name in logs and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Returns who ended the connection.
            pub const fn party(self) -> Party {
                match self {
                    $(Self::$variant => Party::$party,)+
                }
            }

            /// Returns a sentence that says what the reason means.
            pub const fn summary(self) -> &'static str {
                match self {
                    $(Self::$variant => $summary,)+
                }
            }
        }
    };
}

reasons! {
    ClientClosed "client_closed" Client
        "The client closed or reset its connection, and the destination has received everything that it sent.";
    ClientLeft "client_left" Client
        "The client disconnected before its session was ready.";
    UploadIncomplete "upload_incomplete" Client
        "The client closed or reset its connection, and the destination may not have received everything that it sent.";
    DestinationClosed "destination_closed" Destination
        "The destination closed the connection, and both sides have received everything.";
    DestinationClosedEarly "destination_closed_early" Destination
        "The destination closed the connection, and may not have received everything that the client sent.";
    DestinationUnreachable "destination_unreachable" Destination
        "The agent could not connect to the destination; `class` says why.";
    HalfCloseTimeout "half_close_timeout" Daemon
        "The client closed its sending direction, and then no byte moved for `half_close_timeout`.";
    RequestDenied "request_denied" Daemon
        "The client of a proxy requested a destination that `allow` does not permit.";
    RequestInvalid "request_invalid" Client
        "The client of a proxy sent no valid request, or none in time.";
    LimitReached "limit_reached" Daemon
        "The number of connections was at a limit (`max_connections` of the forward or in `[limits]`) for `connect_timeout`.";
    ConnectTimeout "connect_timeout" Daemon
        "The session was not ready within `connect_timeout`; `phase` says what it was waiting for.";
    SessionNotStarted "session_not_started" Service
        "The session could not be started, its data channel could not be opened, or the key of `--push-key` could not be pushed; `class` says why.";
    SessionEnded "session_ended" Service
        "The session was ended by a user, a timeout, Session Manager or the agent.";
    SessionLost "session_lost" Network
        "The websocket broke and the session could not be resumed within `resume_timeout`.";
    ProtocolError "protocol_error" Service
        "Session Manager or the agent sent something that is not valid in the protocol.";
    Stopped "stopped" Daemon
        "The daemon or the forward stopped.";
    ClosedByOperator "closed_by_operator" Operator
        "An operator reset the connection with `ssm-proxyd close`.";
    InternalError "internal_error" Daemon
        "A panic in this program or in a library: a bug.";
}

impl EndReason {
    /// Returns the reason of a connection that got no stream, for a failure of this class.
    pub fn of_connect_failure(class: ErrorClass) -> Self {
        common(class).unwrap_or(Self::SessionNotStarted)
    }

    /// Returns the reason of a connection whose stream was lost, for a failure of this class.
    pub fn of_lost_stream(class: ErrorClass) -> Self {
        if matches!(class, ErrorClass::SessionEnded | ErrorClass::AgentFailed) {
            return Self::SessionEnded;
        }
        if class == ErrorClass::ProtocolError {
            return Self::ProtocolError;
        }
        common(class).unwrap_or(Self::SessionLost)
    }

    /// Returns true if something failed, other than that one side closed in an orderly way.
    pub fn is_failure(self) -> bool {
        match self {
            Self::ClientClosed
            | Self::ClientLeft
            | Self::DestinationClosed
            | Self::DestinationClosedEarly
            | Self::HalfCloseTimeout
            | Self::Stopped
            | Self::ClosedByOperator => false,
            Self::UploadIncomplete
            | Self::DestinationUnreachable
            | Self::RequestDenied
            | Self::RequestInvalid
            | Self::LimitReached
            | Self::ConnectTimeout
            | Self::SessionNotStarted
            | Self::SessionEnded
            | Self::SessionLost
            | Self::ProtocolError
            | Self::InternalError => true,
        }
    }
}

/// Returns the reason for classes that mean the same at any time.
fn common(class: ErrorClass) -> Option<EndReason> {
    let is_unreachable = matches!(
        class,
        ErrorClass::DestinationNotFound
            | ErrorClass::DestinationRefused
            | ErrorClass::DestinationTimedOut
            | ErrorClass::DestinationForbidden
    );
    let reasons = [
        (is_unreachable, EndReason::DestinationUnreachable),
        (class == ErrorClass::Stopping, EndReason::Stopped),
        (class == ErrorClass::InternalError, EndReason::InternalError),
    ];
    let mut reasons = reasons.into_iter().filter(|(is_this, _)| *is_this);
    reasons.next().map(|(_, reason)| reason)
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The local program.
    Client,
    /// The destination.
    Destination,
    /// Session Manager or the agent.
    Service,
    /// The network between this machine and Session Manager.
    Network,
    /// This program.
    Daemon,
    /// A command of an operator.
    Operator,
}

impl Party {
    /// Returns the name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Destination => "destination",
            Self::Service => "service",
            Self::Network => "network",
            Self::Daemon => "daemon",
            Self::Operator => "operator",
        }
    }
}
