//! Delivery of the final bytes of a client that has closed, and what is known of it at the end of a
//! relay.

use std::time::Duration;

use super::byte_counters::ByteCounters;
use super::connections::ActiveConnection;
use super::outcome::{Outcome, STOPPING};
use super::relay::{ENDED_EARLY, NOT_TAKEN, RelayTimeouts, classify, flush_upload};
use super::shutdown::ShutdownWatch;
use crate::telemetry::Phase;
use crate::tunnel::Stream;

/// Delivers the final bytes of the client, or checks whether they were delivered. Returns the
/// outcome, which changes if an operator does not wait for them.
pub(super) async fn deliver(
    outcome: Outcome,
    stream: &Stream,
    timeouts: RelayTimeouts,
    active: &ActiveConnection,
    stop: &mut ShutdownWatch,
) -> (Outcome, Result<(), String>) {
    // Without a byte from the client there is no upload to flush or to classify.
    if active.counters.read() == 0 {
        return (outcome, Ok(()));
    }
    let delivered = match &outcome {
        Outcome::ClientClosed | Outcome::HalfCloseTimeout => {
            if outcome == Outcome::ClientClosed {
                active.set_phase(Phase::Flushing);
            }
            tokio::select! {
                delivered = flush_upload(stream, timeouts.flush_idle) => delivered,
                () = stop.grace_over() => Err(STOPPING.to_owned()),
                () = active.close_requested() => return (Outcome::ClosedByOperator, Ok(())),
                () = sleep_or_pending(timeouts.flush_total) => Err(NOT_TAKEN.to_owned()),
            }
        }
        Outcome::UploadIncomplete if stop.is_stopping() => Err(STOPPING.to_owned()),
        Outcome::UploadIncomplete => Err(NOT_TAKEN.to_owned()),
        Outcome::DestinationClosed | Outcome::EndedEarly => classify(stream.upload()),
        Outcome::StreamLost(_) | Outcome::Stopped | Outcome::ClosedByOperator => Ok(()),
    };
    (outcome, delivered)
}

/// Checks that the stream took all that was read, and changes the outcome if the destination may
/// have missed bytes of the client.
pub(super) fn final_outcome(
    outcome: Outcome,
    delivered: Result<(), String>,
    counters: &ByteCounters,
) -> (Outcome, Result<(), String>) {
    let all_taken = match counters.read() == counters.sent() {
        true => Ok(()),
        false => Err(ENDED_EARLY.to_owned()),
    };
    let delivered = delivered.and(all_taken);
    let outcome = match (outcome, &delivered) {
        (Outcome::ClientClosed, Err(_)) => Outcome::UploadIncomplete,
        (Outcome::DestinationClosed, Err(_)) => Outcome::EndedEarly,
        (outcome, _) => outcome,
    };
    (outcome, delivered)
}

/// Waits for `span`; never returns if it is `None`.
pub(super) async fn sleep_or_pending(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}
