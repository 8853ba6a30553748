//! Access log: one line per connection that has ended.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::relay::{ByteCounters, Outcome};
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::tunnel;

/// Record of a connection that has ended.
#[derive(Debug)]
pub(super) struct AccessLog<'a> {
    /// `None`: the daemon stops.
    pub(super) outcome: Option<&'a Outcome>,
    /// The error of the tunnel, if it has ended.
    pub(super) failure: Option<Arc<tunnel::Error>>,
    pub(super) counters: &'a ByteCounters<'a>,
    pub(super) time: Duration,
}

impl AccessLog<'_> {
    /// Logs the record in one line.
    pub(super) fn log(self, destination: &Printable) {
        let (sent, received) = (self.counters.sent(), self.counters.received());
        let time = self.time;
        match self.outcome {
            Some(Outcome::StreamLost(Reason::Refused)) => {
                let class = ErrorClass::DestinationRefused;
                warn!(%destination, hint = class.remedy(), %class, "the agent could not connect to the destination; connection reset");
            }
            Some(Outcome::StreamLost(reason)) => {
                let ended = tunnel::Error::Ended(reason.clone());
                let error = self.failure.as_deref().unwrap_or(&ended);
                let hint = Some(error.hint()).filter(|hint| !hint.is_empty());
                warn!(%error, hint, class = %error.class(), sent, received, ?time, "session lost; connection reset");
            }
            Some(Outcome::HalfCloseTimeout) => {
                info!(
                    sent,
                    received,
                    ?time,
                    "half-closed and idle; connection reset"
                );
            }
            Some(Outcome::DestinationClosed | Outcome::ClientClosed) if sent + received == 0 => {
                debug!(?time, "connection ended without a byte");
            }
            Some(Outcome::DestinationClosed) => {
                info!(sent, received, ?time, "connection ended by the destination");
            }
            Some(Outcome::EndedEarly) => {
                info!(
                    sent,
                    received,
                    ?time,
                    "connection ended by the destination, which may not have received every byte of the client"
                );
            }
            Some(Outcome::ClientClosed | Outcome::UploadIncomplete) => {
                info!(sent, received, ?time, "connection ended by the client");
            }
            None => info!(sent, received, ?time, "stopping; connection reset"),
        }
    }
}
