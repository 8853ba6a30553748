//! How a relay ended, and what that means for the record of its connection.

use super::access_log::{End, EndFailure};
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::telemetry::EndReason;
use crate::tunnel;

/// How a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The destination ended, and the client has every byte of it.
    DestinationClosed,
    /// The same, but the destination may not have every byte of the client.
    EndedEarly,
    /// The stream was lost or refused: the client must be reset.
    StreamLost(Reason),
    /// The client closed or reset its connection.
    ClientClosed,
    /// The client closed, and the destination does not take the remaining upload.
    UploadIncomplete,
    /// The client half-closed, and then nothing moved for too long.
    HalfCloseTimeout,
    /// A stop was requested.
    Stopped,
    /// An operator requested it.
    ClosedByOperator,
}

impl Outcome {
    /// Returns whether the client may get an error message: the connection was lost or stopped,
    /// rather than ended by one of its sides or by an operator. If the destination may have been
    /// reached and closed by itself, the message would say the wrong thing.
    pub(super) fn may_be_explained(&self) -> bool {
        match self {
            Self::StreamLost(reason) => *reason != Reason::RefusedOrClosed,
            Self::Stopped => true,
            Self::DestinationClosed
            | Self::EndedEarly
            | Self::ClientClosed
            | Self::UploadIncomplete
            | Self::HalfCloseTimeout
            | Self::ClosedByOperator => false,
        }
    }

    /// Returns the end of the connection. `failure` is the error of the tunnel, if it has ended;
    /// `undelivered` says why the destination may not have the final bytes of the client.
    pub(super) fn end(
        &self,
        failure: Option<&tunnel::Error>,
        undelivered: Option<&str>,
        destination: &Printable,
    ) -> End {
        let reason = match self {
            Self::DestinationClosed => EndReason::DestinationClosed,
            Self::EndedEarly => EndReason::DestinationClosedEarly,
            Self::StreamLost(reason) => return lost(reason, failure, destination),
            Self::ClientClosed => EndReason::ClientClosed,
            Self::UploadIncomplete => EndReason::UploadIncomplete,
            Self::HalfCloseTimeout => EndReason::HalfCloseTimeout,
            Self::Stopped => EndReason::Stopped,
            Self::ClosedByOperator => EndReason::ClosedByOperator,
        };
        let is_warned = matches!(self, Self::UploadIncomplete | Self::HalfCloseTimeout);
        match undelivered.filter(|_| is_warned) {
            Some(why) => End::failed(reason, undelivered_failure(why)),
            None => End::new(reason),
        }
    }
}

fn lost(reason: &Reason, failure: Option<&tunnel::Error>, destination: &Printable) -> End {
    let is_doubtful = *reason == Reason::RefusedOrClosed;
    if is_doubtful || *reason == Reason::Refused {
        let doubt = if is_doubtful { OR_CLOSED } else { "" };
        let class = ErrorClass::DestinationRefused;
        let failure = EndFailure {
            class,
            error: Printable::of(format_args!(
                "the agent could not connect to {destination}{doubt}"
            )),
            hint: class.remedy().into(),
        };
        return End::failed(EndReason::DestinationUnreachable, failure);
    }
    let ended = tunnel::Error::Ended(reason.clone());
    let error = failure.unwrap_or(&ended);
    let class = error.class();
    let failure = EndFailure {
        class,
        error: Printable::of(error),
        hint: error.hint().into(),
    };
    End::failed(EndReason::of_lost_stream(class), failure)
}

fn undelivered_failure(why: &str) -> EndFailure {
    EndFailure {
        class: ErrorClass::UploadIncomplete,
        error: why.into(),
        hint: Printable::default(),
    }
}

/// Reason why the last bytes of a client may be lost: a stop did not wait for them.
pub(super) const STOPPING: &str = "stopping";

/// Follows the error of a refused connection if the destination may have been reached.
const OR_CLOSED: &str = ", or it closed the connection without sending anything";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_explained_only_if_the_destination_was_certainly_not_reached() {
        for (reason, is_certain) in [(Reason::Refused, true), (Reason::RefusedOrClosed, false)] {
            let outcome = Outcome::StreamLost(reason);
            let failure = outcome.end(None, None, &"db:1".into()).failure.unwrap();

            assert_eq!(outcome.may_be_explained(), is_certain);
            assert_eq!(failure.class, ErrorClass::DestinationRefused);
            let error = failure.error.to_string();
            assert_eq!(error.contains("or it closed the connection"), !is_certain);
        }
    }
}
