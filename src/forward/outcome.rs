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
    /// Returns whether the connection was lost or stopped, rather than ended by one of its sides or
    /// by an operator.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::StreamLost(_) | Self::Stopped => true,
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
    if *reason == Reason::Refused {
        let class = ErrorClass::DestinationRefused;
        let failure = EndFailure {
            class,
            error: Printable::of(format_args!("the agent could not connect to {destination}")),
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
