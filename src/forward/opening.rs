//! Opening of a connection: its permits, and a stream on one of the tunnels; again, if the tunnel
//! ends before the stream was used.

use std::future::Future;
use std::time::Instant;

use tokio::sync::SemaphorePermit;
use tokio::time::timeout_at;
use tracing::debug;

use super::access_log::End;
use super::connections::ActiveConnection;
use super::error::ConnectFailure;
use super::outcome::Outcome;
use super::pool_handle::{Lease, SlotRefusal};
use crate::clock;
use crate::proto::OpenError;
use crate::telemetry::{Count, EndReason};
use crate::tunnel::{Step, Stream};

/// What a connection has when its relay begins.
pub(super) struct OpenConnection<'a> {
    pub(super) lease: Lease,
    pub(super) stream: Stream,
    pub(super) permits: (SemaphorePermit<'a>, SemaphorePermit<'a>),
    /// Bytes that were already read from the client.
    pub(super) first: Vec<u8>,
}

/// Why a connection has no stream.
pub(super) enum Unopened {
    /// It is not wanted any more, and need not be answered.
    Left(EndReason),
    /// The forward stops, or the stream could not be opened.
    Failed(End),
}

/// What a connection has when its relay has ended.
pub(super) struct EndedRelay<'a> {
    pub(super) outcome: Outcome,
    pub(super) opened: OpenConnection<'a>,
    /// Counts the connection as open.
    pub(super) open: Count<'a>,
}

impl EndedRelay<'_> {
    /// Returns whether another session can serve the connection as if there had been none: its
    /// session was lost, by no fault of the destination, before a byte went either way.
    pub(super) fn is_untouched(&self, active: &ActiveConnection) -> bool {
        let counters = &active.counters;
        if counters.read() > 0 || counters.received() > 0 {
            return false;
        }
        let failure = self.opened.lease.tunnel().failure();
        matches!(self.outcome, Outcome::StreamLost(_))
            && failure.is_some_and(|failure| {
                matches!(
                    EndReason::of_lost_stream(failure.class()),
                    EndReason::SessionEnded | EndReason::SessionLost
                )
            })
    }
}

/// Leases slots until a stream can be opened on one, or `deadline` has passed.
pub(super) async fn first_stream<P, S, F: Future<Output = Result<P, SlotRefusal>>>(
    deadline: Instant,
    acquire: impl Fn() -> F,
    open: impl Fn(&mut P) -> Result<S, OpenError>,
) -> Result<(P, S), SlotRefusal> {
    loop {
        let mut lease = acquire().await?;
        match open(&mut lease) {
            Ok(stream) => return Ok((lease, stream)),
            // Dropping the lease returns the slot as unusable. The deadline is checked in each
            // round, so that a pool of unusable tunnels cannot hold the connection.
            Err(error) if clock::now() >= deadline => {
                debug!(%error, "cannot open a stream on the last tunnel before the deadline");
                return Err(SlotRefusal {
                    failure: ConnectFailure::TimedOut(Step::of("a tunnel that can open a stream")),
                    omitted: Some(0),
                    timeline: Box::default(),
                });
            }
            Err(error) => debug!(%error, "cannot open a stream on this tunnel; requesting another"),
        }
    }
}

/// Waits for a permit until `deadline`.
pub(super) async fn within<'a, E>(
    deadline: Instant,
    step: &str,
    permit: impl Future<Output = Result<SemaphorePermit<'a>, E>>,
) -> Result<SemaphorePermit<'a>, SlotRefusal> {
    let (failure, omitted) = match timeout_at(deadline.into(), permit).await {
        Ok(Ok(permit)) => return Ok(permit),
        Ok(Err(_)) => (ConnectFailure::Stopping, None),
        Err(_) => {
            let step = Step {
                hint: LIMIT_HINT,
                ..Step::of(step)
            };
            (ConnectFailure::LimitReached(step), Some(0))
        }
    };
    Err(SlotRefusal {
        failure,
        omitted,
        timeline: Box::default(),
    })
}

const LIMIT_HINT: &str = "close connections, or raise `max_connections`: of the forward or in [defaults], and in [limits] of the configuration file";

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;
    use std::time::Duration;

    use super::*;
    use crate::proto::Reason;

    #[tokio::test]
    async fn a_pool_of_unusable_tunnels_does_not_hold_a_connection_beyond_its_deadline() {
        let rounds = Cell::new(0_u32);
        let acquire = || {
            rounds.set(rounds.get() + 1);
            assert!(rounds.get() < 100, "the deadline has passed");
            ready(Ok(()))
        };
        let open = |(): &mut ()| Err::<(), _>(OpenError::Exhausted);

        let opened = first_stream(clock::now(), acquire, open).await;

        assert!(matches!(
            opened.unwrap_err().failure,
            ConnectFailure::TimedOut(_)
        ));
        assert_eq!(rounds.get(), 1);
    }

    #[tokio::test]
    async fn a_connection_requests_another_slot_when_a_tunnel_opens_no_stream() {
        let rounds = Cell::new(0);
        let acquire = || {
            rounds.set(rounds.get() + 1);
            ready(Ok(rounds.get()))
        };
        let open = |lease: &mut i32| match lease {
            1 => Err(OpenError::Exhausted),
            2 => Err(OpenError::Ended(Reason::Finished)),
            lease => Ok(*lease),
        };
        let deadline = clock::now() + Duration::from_secs(3600);

        let opened = first_stream(deadline, acquire, open).await;

        assert_eq!(opened.unwrap(), (3, 3));
    }
}
