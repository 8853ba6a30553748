//! Checks whether the target reaches the destination of a forward.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::finding::{CheckOutcome, Failure};
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::proto::Upload;
use crate::quantity;
use crate::tunnel::{Error, ReadOutcome, Tunnel};

/// Opens a connection to the destination, without sending a byte to it.
///
/// The agent reports a refused connection, but not an open one. A destination that sends nothing is
/// recognised by the end of the stream: the agent confirms it once it has connected.
pub(super) async fn reach(
    tunnel: Option<&Tunnel>,
    end: Option<Arc<Error>>,
    limit: Duration,
) -> CheckOutcome<()> {
    if let Some(error) = end {
        return Failure::of_tunnel(&error).into();
    }
    let Some(tunnel) = tunnel else {
        return CheckOutcome::Skip("there is no session".into());
    };
    let stream = match tunnel.open_stream() {
        Ok(stream) => stream,
        Err(error) => {
            return match tunnel.failure() {
                Some(error) => Failure::of_tunnel(&error).into(),
                None => Failure::new(ErrorClass::SessionEnded, Printable::of(error), "").into(),
            };
        }
    };
    let mut received = Vec::new();
    let (quiet, left) = phases(limit);
    let first = timeout(quiet, stream.read(&mut received, MAX_READ)).await;
    let reason = match first {
        Ok(ReadOutcome::Bytes) => {
            let text = format!(
                "connected; it speaks first ({})",
                quantity::size(received.len() as u64)
            );
            return CheckOutcome::Pass((), text.into());
        }
        Ok(ReadOutcome::End) => {
            let text = "connected; the destination closed the connection at once";
            return CheckOutcome::Pass((), text.into());
        }
        Ok(ReadOutcome::Lost(reason)) => reason,
        Err(_quiet) => match timeout(left, stream.leave()).await {
            Ok(Upload::Lost(reason)) => reason,
            Ok(Upload::Delivered | Upload::CutShort | Upload::Pending) => {
                return CheckOutcome::Pass(
                    (),
                    "connected; it waits for the client to speak".into(),
                );
            }
            Err(_) => {
                let text = "the agent's attempt to connect to the destination got no answer";
                return Failure::new(ErrorClass::DestinationTimedOut, text, "").into();
            }
        },
    };
    let failure = tunnel.failure();
    match failure {
        Some(error) => Failure::of_tunnel(&error).into(),
        None => Failure::of_tunnel(&Error::Ended(reason)).into(),
    }
}

/// Divides the time limit of the check of a destination: how long it may take to speak first, and
/// how long the agent may take to connect, with some time left for the result.
fn phases(limit: Duration) -> (Duration, Duration) {
    let quiet = QUIET.min(limit / 4);
    (quiet, limit.saturating_sub(2 * quiet))
}

/// Returns whether a session ended because of its destination.
pub(super) fn is_of_destination(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::DestinationNotFound
            | ErrorClass::DestinationRefused
            | ErrorClass::DestinationTimedOut
            | ErrorClass::DestinationForbidden
    )
}

/// How long the destination may take to speak first, or to end at once.
const QUIET: Duration = Duration::from_secs(1);

/// Maximum number of bytes read from a destination.
const MAX_READ: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_time_to_connect_whatever_the_limit() {
        for millis in [1, 500, 1000, 2000, 20_000] {
            let limit = Duration::from_millis(millis);

            let (quiet, left) = phases(limit);

            assert!(left >= limit / 2 && quiet + left < limit, "{limit:?}");
        }
        assert_eq!(phases(Duration::from_secs(20)).0, QUIET);
    }
}
