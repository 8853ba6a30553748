//! Handles one connection, from accept to close.
//!
//! ```text
//!   permits ─▶ slot on a tunnel ─▶ stream ─▶ relay ─▶ flush upload ─▶ release the slot
//!   └───────── connect_timeout ─────────┘
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{timeout, timeout_at};
use tracing::{Span, debug, info, warn};

use super::access_log::AccessLog;
use super::client::Connection;
use super::error::{ConnectFailure, refusal};
use super::pool_handle::{AcceptPermit, Lease, PoolHandle, SlotRefusal};
use super::relay::{
    ByteCounters, ENDED_EARLY, NOT_TAKEN, Outcome, RelayTimeouts, classify, flush_upload, relay,
};
use super::shutdown::ShutdownWatch;
use crate::clock;
use crate::config;
use crate::panics;
use crate::printable::Printable;
use crate::proto::{OpenError, Reason};
use crate::telemetry::ForwardMetrics;
use crate::tunnel::{self, Step, Stream, TriggerReceiver};

/// State shared by all connections of a forward.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) settings: Arc<config::Forward>,
    pub(super) timeouts: RelayTimeouts,
    pub(super) pool: PoolHandle,
    /// Limits the connections of this forward that may use a tunnel.
    pub(super) permits: Semaphore,
    /// The same limit for the whole daemon.
    pub(super) all_permits: Arc<Semaphore>,
    /// Limits the accepted connections.
    pub(super) accept_permits: Arc<Semaphore>,
    /// Limits the ended connections whose client has not read its last bytes yet.
    pub(super) lingering: Semaphore,
    /// Makes every connection log one line (dump of open connections).
    pub(super) dump_connections: TriggerReceiver,
    pub(super) metrics: Arc<ForwardMetrics>,
}

impl Handler {
    /// Serves a connection until it ends or a stop is requested. Dropping the future resets it.
    pub(super) async fn run(
        self: Arc<Self>,
        connection: Connection,
        accept_permit: AcceptPermit,
        mut stop: ShutdownWatch,
    ) {
        panics::point("connection");
        let begin = clock::now();
        self.metrics.accepted.fetch_add(1, Relaxed);
        let waiting = self.metrics.waiting.count();
        let opened = tokio::select! {
            opened = self.open(begin, &accept_permit) => opened,
            () = stop.draining() => return,
            never = self.log_on_dump(|| info!(time = ?clock::since(begin), "waiting for a session")) => match never {},
            () = connection.closed_before_data() => return debug!("client disconnected before its session was ready"),
        };
        drop(waiting);
        match opened {
            Ok(opened) => drop(self.relay(begin, connection, opened, stop).await),
            Err(refusal) => {
                drop(connection);
                log(&refusal);
            }
        }
    }

    /// Records a panic in a part of this forward, which is restarted.
    pub(super) fn record_panic(&self) {
        let now = clock::now();
        self.metrics
            .record_failure(ConnectFailure::Internal.status(now));
    }

    /// Calls `log` at each dump of open connections.
    async fn log_on_dump(&self, log: impl Fn()) -> Infallible {
        let mut dump_connections = self.dump_connections.clone().resubscribe();
        loop {
            dump_connections.triggered().await;
            log();
        }
    }

    /// Acquires the permits, a tunnel and a stream. Fails after `connect_timeout`.
    pub(super) async fn open(
        &self,
        begin: Instant,
        accept_permit: &AcceptPermit,
    ) -> Result<OpenConnection<'_>, SlotRefusal> {
        let deadline = begin + self.settings.connect_timeout;
        let step = "a free slot of `max_connections` of this forward";
        let permit = within(deadline, step, self.permits.acquire()).await?;
        let step = "a free slot of `max_connections` in [limits]";
        let all_permit = within(deadline, step, self.all_permits.acquire()).await?;
        let acquire = || self.pool.acquire(deadline, accept_permit);
        let (lease, stream) = first_stream(deadline, acquire, Lease::open_stream).await?;
        let span = Span::current();
        span.record("session", lease.tunnel().session_id());
        span.record("stream", stream.id().0);
        Ok(OpenConnection {
            lease,
            stream,
            _permits: (permit, all_permit),
        })
    }

    /// Relays until one side has ended. Returns the outcome and, if the tunnel ended, its error.
    pub(super) async fn relay(
        &self,
        begin: Instant,
        connection: Connection,
        opened: OpenConnection<'_>,
        mut stop: ShutdownWatch,
    ) -> (Option<Outcome>, Option<Arc<tunnel::Error>>) {
        let OpenConnection {
            lease,
            stream,
            _permits: permits,
        } = opened;
        let _open = self.metrics.open.count();
        let timeouts = self.timeouts;
        let counters = ByteCounters::new(&self.metrics);
        let outcome = tokio::select! {
            outcome = relay(&connection, &stream, timeouts, &counters) => Some(outcome),
            () = stopped(&mut stop, &counters) => None,
            never = self.log_on_dump(|| log_open(&counters, begin)) => match never {},
        };
        // A connection that is to be reset is dropped, and so reset, before any further wait.
        let ended = (outcome == Some(Outcome::DestinationClosed)).then_some(connection);
        // Without a byte from the client there is no upload to flush or to classify.
        let with_upload = outcome.as_ref().filter(|_| counters.read() > 0);
        let delivered = match with_upload {
            Some(Outcome::ClientClosed | Outcome::HalfCloseTimeout) => tokio::select! {
                delivered = flush_upload(&stream, timeouts.flush_idle) => delivered,
                () = stop_grace_over(&mut stop) => Err("stopping".to_owned()),
                () = sleep_or_pending(timeouts.flush_total) => Err(NOT_TAKEN.to_owned()),
            },
            Some(Outcome::UploadIncomplete) => Err(NOT_TAKEN.to_owned()),
            Some(Outcome::DestinationClosed | Outcome::EndedEarly) => classify(stream.upload()),
            Some(Outcome::StreamLost(_)) | None => Ok(()),
        };
        let (outcome, delivered) = final_outcome(outcome, delivered, &counters);
        drop(stream);
        self.record_outcome(outcome.as_ref(), &counters, begin);
        let failure = lease.tunnel().failure();
        let record = AccessLog {
            outcome: outcome.as_ref(),
            failure: failure.clone(),
            counters: &counters,
            time: clock::since(begin),
        };
        record.log(&self.destination());
        if let (Err(error), Some(Outcome::UploadIncomplete | Outcome::HalfCloseTimeout)) =
            (delivered, &outcome)
        {
            warn!(
                error,
                "the final bytes of the client may not have been delivered"
            );
        }
        drop(lease);
        drop(permits);
        if let Some(connection) = ended {
            self.finish(connection, stop).await;
        }
        (outcome, failure)
    }
}

impl Handler {
    /// Closes a connection gracefully. A client that does not read its last bytes delays this, so
    /// the number of such connections is limited; for the others, the kernel keeps delivering for
    /// some minutes.
    async fn finish(&self, connection: Connection, mut stop: ShutdownWatch) {
        let Ok(_permit) = self.lingering.try_acquire() else {
            debug!(
                "too many clients do not read their final bytes; closing this connection without waiting; the kernel delivers the rest"
            );
            return connection.close_without_waiting();
        };
        tokio::select! {
            () = connection.close_gracefully() => {}
            () = stop.aborting() => {}
        }
    }

    /// Returns the destination: as reported by the agent, else as configured.
    fn destination(&self) -> Printable {
        let reported = self.metrics.destination();
        reported.unwrap_or_else(|| Printable::of(&self.settings.remote))
    }

    /// Records in the metrics whether the destination answered or refused.
    fn record_outcome(
        &self,
        outcome: Option<&Outcome>,
        counters: &ByteCounters<'_>,
        begin: Instant,
    ) {
        if counters.received() > 0 {
            let is_shared = matches!(self.settings.sessions, config::SessionMode::Shared { .. });
            self.metrics.record_answer(is_shared.then_some(begin));
        } else if let Some(Outcome::StreamLost(Reason::Refused)) = outcome {
            self.metrics
                .record_refusal(refusal(&self.destination(), clock::now()));
        }
    }
}

fn log_open(counters: &ByteCounters<'_>, begin: Instant) {
    let (sent, received) = (counters.sent(), counters.received());
    info!(sent, received, time = ?clock::since(begin), "open");
}

/// Timeouts of a relay. Delivery allows for resuming a broken websocket, and then for a
/// destination that is slow to take the upload of a closed client.
pub(super) fn timeouts(settings: &config::Forward) -> RelayTimeouts {
    let half_close_idle = settings.half_close_timeout;
    RelayTimeouts {
        half_close_idle,
        flush_idle: settings.resume_timeout + half_close_idle,
        flush_total: None,
    }
}

/// Checks that the stream took all that was read, and changes the outcome if the destination may
/// have missed bytes of the client.
fn final_outcome(
    outcome: Option<Outcome>,
    delivered: Result<(), String>,
    counters: &ByteCounters<'_>,
) -> (Option<Outcome>, Result<(), String>) {
    let all_taken = match counters.read() == counters.sent() {
        true => Ok(()),
        false => Err(ENDED_EARLY.to_owned()),
    };
    let delivered = delivered.and(all_taken);
    let outcome = match (outcome, &delivered) {
        (Some(Outcome::ClientClosed), Err(_)) => Some(Outcome::UploadIncomplete),
        (Some(Outcome::DestinationClosed), Err(_)) => Some(Outcome::EndedEarly),
        (outcome, _) => outcome,
    };
    (outcome, delivered)
}

/// Waits until this connection must end. Idle connections end earlier than others.
async fn stopped(stop: &mut ShutdownWatch, counters: &ByteCounters<'_>) {
    stop.closing_idle().await;
    let moved = || (counters.sent(), counters.received());
    loop {
        let before = moved();
        if timeout(IDLE, stop.aborting()).await.is_ok() || moved() == before {
            return;
        }
    }
}

/// Waits for `span`; never returns if it is `None`.
async fn sleep_or_pending(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

/// Waits for a stop, and then for the time that the upload of a client that disconnected just
/// before commonly needs.
async fn stop_grace_over(stop: &mut ShutdownWatch) {
    stop.aborting().await;
    tokio::time::sleep(UPLOAD_GRACE).await;
}

/// Lease, stream and permits of a connection.
pub(super) struct OpenConnection<'a> {
    lease: Lease,
    stream: Stream,
    _permits: (SemaphorePermit<'a>, SemaphorePermit<'a>),
}

/// Leases slots until a stream can be opened on one, or `deadline` has passed.
async fn first_stream<P, S, F: Future<Output = Result<P, SlotRefusal>>>(
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
                });
            }
            Err(error) => debug!(%error, "cannot open a stream on this tunnel; requesting another"),
        }
    }
}

/// Waits for a permit until `deadline`.
async fn within<'a, E>(
    deadline: Instant,
    step: &str,
    permit: impl Future<Output = Result<SemaphorePermit<'a>, E>>,
) -> Result<SemaphorePermit<'a>, SlotRefusal> {
    let (failure, omitted) = match timeout_at(deadline.into(), permit).await {
        Ok(Ok(permit)) => return Ok(permit),
        Ok(Err(_)) => (ConnectFailure::Stopping, None),
        Err(_) => (ConnectFailure::TimedOut(Step::of(step)), Some(0)),
    };
    Err(SlotRefusal { failure, omitted })
}

/// Logs one line, at debug level if the same failure was logged recently.
fn log(SlotRefusal { failure, omitted }: &SlotRefusal) {
    if let Some(omitted) = *omitted {
        let omitted = (omitted > 0).then_some(omitted);
        warn!(error = %failure, hint = failure.hint(), class = %failure.class(), omitted, "no session; connection reset");
    } else {
        debug!(error = %failure, class = %failure.class(), "no session; connection reset");
    }
}

/// A connection without traffic for this long is idle.
const IDLE: Duration = Duration::from_secs(1);

/// How long a stop waits for the upload of a client that has already disconnected.
const UPLOAD_GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use super::*;

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
