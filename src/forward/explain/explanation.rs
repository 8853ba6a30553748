//! The content of an error message: cause, remedy and route, as text of limited length.

use std::fmt::Write;

use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::telemetry::{ConnectionRecord, EndReason};

/// Why a connection is not served, and what to do about it.
#[derive(Clone, Debug)]
pub(in crate::forward) struct Explanation {
    pub(super) forward: Printable,
    pub(super) class: ErrorClass,
    pub(super) error: Printable,
    /// Empty if nothing is known.
    pub(super) hint: Printable,
    /// The destination may have received bytes of the client.
    pub(super) was_passed_on: bool,
    /// Target and destination; not for clients on other machines.
    pub(super) route: Option<(Printable, Printable)>,
    /// Another connection may succeed without any change, and repeating the request is safe.
    pub(super) is_temporary: bool,
}

impl Explanation {
    /// Returns the explanation for a connection that has ended, unless its client is to be reset:
    /// the destination was reached, or nothing failed. Clients on other machines get the cause in
    /// general terms, since messages of AWS may name accounts and users.
    pub(in crate::forward) fn of(
        record: &ConnectionRecord,
        forward: &str,
        is_local: bool,
    ) -> Option<Self> {
        if record.received > 0 || !is_explained(record.reason) {
            return None;
        }
        let class = record.class.unwrap_or(ErrorClass::Stopping);
        let (error, hint) = match &record.error {
            Some(error) => (error.clone(), record.hint.clone()),
            None => (STOPPING.into(), STOPPING_HINT.into()),
        };
        let was_passed_on = record.sent > 0 && record.reason != EndReason::DestinationUnreachable;
        let explanation = Self {
            forward: forward.into(),
            class,
            error,
            hint,
            was_passed_on,
            route: Some((record.target.clone(), record.destination.clone())),
            is_temporary: is_temporary(class) && !was_passed_on,
        };
        Some(match is_local {
            true => explanation,
            false => explanation.in_general(),
        })
    }

    /// Returns the explanation in general terms, without names of accounts, users and hosts.
    pub(super) fn in_general(&self) -> Self {
        Self {
            error: self.class.summary().trim_end_matches('.').into(),
            hint: self.class.remedy().into(),
            route: None,
            ..self.clone()
        }
    }

    /// Returns the cause in one line.
    pub(super) fn cause(&self) -> String {
        let note = match self.was_passed_on {
            true => " (the destination may have received the request)",
            false => "",
        };
        format!("ssm-proxyd: forward {}{note}: {}", self.forward, self.error)
    }

    /// Returns the route and the class in one line.
    pub(super) fn detail(&self) -> String {
        let class = self.class;
        match &self.route {
            Some((target, destination)) => {
                format!("target {target}, destination {destination}, class {class}")
            }
            None => format!("class {class}"),
        }
    }

    /// Returns everything in one line of at most `max` bytes. A long cause leaves room for the
    /// remedy.
    pub(super) fn line(&self, max: usize) -> String {
        let mut line = cut(&self.cause(), max / 3 * 2);
        if !self.hint.is_empty() {
            let _infallible = write!(line, "; hint: {}", self.hint);
        }
        let _infallible = write!(line, " ({})", self.detail());
        cut(&line, max)
    }
}

/// Returns whether the client of a connection that ended for this reason gets a message.
fn is_explained(reason: EndReason) -> bool {
    match reason {
        EndReason::DestinationUnreachable
        | EndReason::LimitReached
        | EndReason::ConnectTimeout
        | EndReason::SessionNotStarted
        | EndReason::SessionEnded
        | EndReason::SessionLost
        | EndReason::ProtocolError
        | EndReason::InternalError
        | EndReason::Stopped => true,
        EndReason::ClientClosed
        | EndReason::ClientLeft
        | EndReason::UploadIncomplete
        | EndReason::DestinationClosed
        | EndReason::DestinationClosedEarly
        | EndReason::HalfCloseTimeout
        | EndReason::RequestDenied
        | EndReason::RequestInvalid
        | EndReason::ClosedByOperator => false,
    }
}

/// Returns whether trying again may help without any change.
fn is_temporary(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Throttled
            | ErrorClass::SessionQuota
            | ErrorClass::ServiceFault
            | ErrorClass::SessionEnded
            | ErrorClass::SessionLost
            | ErrorClass::WebsocketBroke
            | ErrorClass::TimedOut
            | ErrorClass::OutOfResources
            | ErrorClass::Stopping
    )
}

/// Cuts a text to at most `max` bytes, and marks the cut.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub(CUT.len()));
    format!("{}{CUT}", &text[..end])
}

/// Cause and remedy if the daemon stops, or a reload removed the forward.
const STOPPING: &str = "the forward is stopping";
const STOPPING_HINT: &str = "connect again when it has been started again";

/// Marks a cut.
const CUT: &str = "...";
