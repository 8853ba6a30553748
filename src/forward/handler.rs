//! Handles one connection, from accept to close.
//!
//! ```text
//!   permits ─▶ slot on a tunnel ─▶ stream ─▶ relay ─▶ flush upload ─▶ release the slot
//!   └───────── connect_timeout ─────────┘
//! ```

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Span, info};

use super::access_log::End;
use super::bundle_client::BundleClient;
use super::byte_counters::ByteCounters;
use super::client::Connection;
use super::closing::close;
use super::connections::{ActiveConnection, ConnectionTable, TrackedConnection};
use super::error::{ConnectFailure, RepeatedLines, refusal};
use super::explainer::Explainer;
use super::handshake_slots::HandshakeSlots;
use super::opening::{OpenConnection, first_stream, within};
use super::outcome::{Outcome, STOPPING};
use super::pool_handle::{AcceptPermit, Lease, PoolHandle, SlotRefusal};
use super::relay::{ENDED_EARLY, NOT_TAKEN, RelayTimeouts, classify, flush_upload, relay};
use super::shutdown::{ShutdownWatch, stopped};
use crate::clock;
use crate::config;
use crate::panics::{self, caught};
use crate::printable::Printable;
use crate::proto::Reason;
use crate::telemetry::{EndReason, ForwardMetrics, Phase};
use crate::tunnel::{self, Stream, TriggerReceiver};

/// State shared by all connections of a forward.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) settings: Arc<config::Forward>,
    pub(super) timeouts: RelayTimeouts,
    pub(super) pool: Arc<PoolHandle>,
    /// Opens connections through a relay, if the forward has one.
    pub(super) relayed: Option<BundleClient>,
    /// Limits the connections of this forward that may use a tunnel.
    pub(super) permits: Semaphore,
    /// The same limit for the whole daemon.
    pub(super) all_permits: Arc<Semaphore>,
    /// Limits the accepted connections.
    pub(super) accept_permits: Arc<Semaphore>,
    /// Limits the ended connections whose client has not read its last bytes yet.
    pub(super) lingering: Semaphore,
    /// Limits the clients of a proxy that have not sent their request.
    pub(super) handshakes: HandshakeSlots,
    pub(super) repeats: RepeatedLines,
    /// Makes every connection log one line (dump of open connections).
    pub(super) dump_connections: TriggerReceiver,
    pub(super) metrics: Arc<ForwardMetrics>,
    pub(super) connections: Arc<ConnectionTable>,
    pub(super) explainer: Explainer,
}

impl Handler {
    /// Serves a connection until it ends or a stop is requested. Dropping the future resets it.
    pub(super) async fn run(
        self: Arc<Self>,
        tracked: TrackedConnection,
        connection: Connection,
        accept_permit: AcceptPermit,
        stop: ShutdownWatch,
    ) {
        let served = caught(self.serve(&tracked, connection, accept_permit, stop));
        let (served, ()) = tokio::join!(served, tracked.find_command());
        match served {
            Ok(None) => {}
            Ok(Some(end)) => tracked.record(end),
            Err(panic) => tracked.record(End::panicked(&panic)),
        }
    }

    /// Serves a connection. Returns how it ended, if that is not recorded yet.
    async fn serve(
        &self,
        tracked: &TrackedConnection,
        connection: Connection,
        accept_permit: AcceptPermit,
        mut stop: ShutdownWatch,
    ) -> Option<End> {
        panics::point("connection");
        if let config::Remote::Requested(allow) = &self.settings.remote {
            let served = self.serve_proxy(tracked, connection, accept_permit, stop, allow);
            return served.await;
        }
        if let Some(client) = &self.relayed {
            let served = self.serve_relayed(client, tracked, connection, stop);
            return Box::pin(served).await;
        }
        let active = tracked.active();
        let begin = active.accepted();
        let waiting = self.metrics.waiting.count();
        let opened = tokio::select! {
            opened = self.open(active, &accept_permit, None) => opened.map_err(SlotRefusal::end),
            () = stop.draining() => Err(End::new(EndReason::Stopped)),
            () = active.close_requested() => return Some(End::new(EndReason::ClosedByOperator)),
            never = self.log_on_dump(|| info!(time = ?clock::since(begin), "waiting for a session")) => match never {},
            () = connection.closed_while_waiting() => return Some(End::new(EndReason::ClientLeft)),
        };
        drop(waiting);
        match opened {
            Ok(opened) => {
                self.relay(tracked, connection, opened, stop).await;
                None
            }
            Err(end) => {
                let conclusion = tracked.conclude(end);
                let none = Vec::new();
                let explain = self
                    .explainer
                    .explain(conclusion, connection, none, &mut stop);
                Box::pin(explain).await;
                None
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
    pub(super) async fn log_on_dump(&self, log: impl Fn()) -> Infallible {
        let mut dump_connections = self.dump_connections.clone().resubscribe();
        loop {
            dump_connections.triggered().await;
            log();
        }
    }

    /// Acquires the permits, a tunnel and a stream. Fails after `connect_timeout`. `requested` is
    /// the destination, unless it is that of the forward.
    pub(super) async fn open(
        &self,
        active: &ActiveConnection,
        accept_permit: &AcceptPermit,
        requested: Option<&config::Remote>,
    ) -> Result<OpenConnection<'_>, SlotRefusal> {
        let deadline = active.accepted() + self.settings.connect_timeout;
        let permits = self.acquire_permits(deadline).await?;
        active.handle_waiting();
        let acquire = || self.pool.acquire(deadline, accept_permit, requested);
        let (lease, stream) = first_stream(deadline, acquire, Lease::open_stream).await?;
        let span = Span::current();
        span.record("session", lease.tunnel().session_id());
        span.record("stream", stream.id().0);
        active.handle_opened(&lease);
        Ok(OpenConnection {
            lease,
            stream,
            permits,
            first: Vec::new(),
        })
    }

    /// Acquires the permits of the forward and of the daemon.
    pub(super) async fn acquire_permits(
        &self,
        deadline: Instant,
    ) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), SlotRefusal> {
        let step = "a free slot of `max_connections` of this forward";
        let permit = within(deadline, step, self.permits.acquire()).await;
        let permit = permit.map_err(|refusal| self.deduplicated(refusal))?;
        let step = "a free slot of `max_connections` in [limits]";
        let all_permit = within(deadline, step, self.all_permits.acquire()).await;
        let all_permit = all_permit.map_err(|refusal| self.deduplicated(refusal))?;
        Ok((permit, all_permit))
    }

    /// Returns the refusal of a permit or a request. The same one is a warning once a minute.
    pub(super) fn deduplicated(&self, refusal: SlotRefusal) -> SlotRefusal {
        let log = match &refusal.failure {
            ConnectFailure::LimitReached(_) => &self.repeats.limit,
            ConnectFailure::Denied(_) | ConnectFailure::BadRequest(_) => &self.repeats.request,
            ConnectFailure::Session(_)
            | ConnectFailure::KeyNotPushed(_)
            | ConnectFailure::Tunnel(_)
            | ConnectFailure::TimedOut(_)
            | ConnectFailure::Relay(..)
            | ConnectFailure::Internal
            | ConnectFailure::Stopping => return refusal,
        };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let omitted = log.handle_failure(clock::now(), &refusal.failure, 1);
        SlotRefusal { omitted, ..refusal }
    }

    /// Relays until one side has ended, and records how. Returns the outcome and, if the tunnel
    /// ended, its error.
    pub(super) async fn relay(
        &self,
        tracked: &TrackedConnection,
        connection: Connection,
        opened: OpenConnection<'_>,
        mut stop: ShutdownWatch,
    ) -> (Outcome, Option<Arc<tunnel::Error>>) {
        let OpenConnection {
            lease,
            stream,
            permits,
            first,
        } = opened;
        let open = self.metrics.open.count();
        let active = tracked.active();
        let counters = &active.counters;
        let outcome = tokio::select! {
            outcome = relay(&connection, first, &stream, self.timeouts, active) => outcome,
            // The client of an upload that is cut has closed before.
            () = stopped(&mut stop, counters) => match active.is_flushing() {
                true => Outcome::UploadIncomplete,
                false => Outcome::Stopped,
            },
            () = active.close_requested() => Outcome::ClosedByOperator,
            never = self.log_on_dump(|| log_open(active)) => match never {},
        };
        // A connection that is to be reset is dropped, and so reset, before any further wait.
        let is_clean = outcome == Outcome::DestinationClosed;
        let is_explained = outcome.may_be_explained() && self.explainer.can_explain(active);
        let ended = (is_clean || is_explained).then_some(connection);
        let (outcome, delivered) = self.deliver(outcome, &stream, active, &mut stop).await;
        let (outcome, delivered) = final_outcome(outcome, delivered, counters);
        drop(stream);
        let failure = lease.tunnel().failure();
        let destination = self.connections.destination(active);
        let omitted = self.record_answer_or_refusal(&outcome, active, &destination);
        let undelivered = delivered.err();
        let end = |outcome: &Outcome| End {
            omitted,
            ..outcome.end(failure.as_deref(), undelivered.as_deref(), &destination)
        };
        match ended {
            Some(connection) if is_explained => {
                let conclusion = tracked.conclude(end(&outcome));
                drop((lease, permits, open));
                let first = active.first_bytes.take();
                let explain = self
                    .explainer
                    .explain(conclusion, connection, first, &mut stop);
                Box::pin(explain).await;
            }
            // Others may use the session and the permits while the client reads.
            Some(connection) => {
                drop((lease, permits));
                let record = |delivered| {
                    let is_answered = delivered == Outcome::Stopped;
                    tracked.record(End {
                        is_answered,
                        ..end(&delivered)
                    });
                    drop(open);
                };
                let closing = close(&outcome, connection, active, &self.lingering, stop, record);
                closing.await;
            }
            None => {
                tracked.record(end(&outcome));
                drop((lease, permits));
            }
        }
        (outcome, failure)
    }
}

impl Handler {
    /// Delivers the final bytes of the client, or checks whether they were delivered. Returns the
    /// outcome, which changes if an operator does not wait for them.
    async fn deliver(
        &self,
        outcome: Outcome,
        stream: &Stream,
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
                    delivered = flush_upload(stream, self.timeouts.flush_idle) => delivered,
                    () = stop_grace_over(stop) => Err(STOPPING.to_owned()),
                    () = active.close_requested() => return (Outcome::ClosedByOperator, Ok(())),
                    () = sleep_or_pending(self.timeouts.flush_total) => Err(NOT_TAKEN.to_owned()),
                }
            }
            Outcome::UploadIncomplete if stop.is_stopping() => Err(STOPPING.to_owned()),
            Outcome::UploadIncomplete => Err(NOT_TAKEN.to_owned()),
            Outcome::DestinationClosed | Outcome::EndedEarly => classify(stream.upload()),
            Outcome::StreamLost(_) | Outcome::Stopped | Outcome::ClosedByOperator => Ok(()),
        };
        (outcome, delivered)
    }

    /// Records in the metrics whether the destination answered or refused. Returns how many
    /// refusals were not logged as warnings before; `None` if this one must not be one either.
    fn record_answer_or_refusal(
        &self,
        outcome: &Outcome,
        active: &ActiveConnection,
        destination: &Printable,
    ) -> Option<u64> {
        let (now, is_proxy) = (clock::now(), self.settings.is_proxy());
        let log = || {
            self.repeats
                .refusal
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if active.counters.received() > 0 {
            let is_shared = matches!(self.settings.sessions, config::SessionMode::Shared { .. });
            self.metrics
                .record_answer(is_shared.then_some(active.accepted()));
            if !is_proxy && let Some((after, connections_reset)) = log().handle_success(now) {
                info!(?after, connections_reset, "the destination answers again");
            }
        } else if let Outcome::StreamLost(Reason::Refused | Reason::RefusedOrClosed) = outcome {
            let refusal = refusal(destination, now);
            let omitted = log().handle_failure(now, &refusal.error, 1);
            match is_proxy {
                // It says nothing about other destinations.
                true => self.metrics.count_failure(refusal.class),
                false => self.metrics.record_refusal(refusal),
            }
            return omitted;
        }
        Some(0)
    }
}

pub(super) fn log_open(active: &ActiveConnection) {
    let (sent, received) = (active.counters.sent(), active.counters.received());
    info!(sent, received, time = ?clock::since(active.accepted()), "open");
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

/// Waits for a stop, and then for the time that the upload of a client that disconnected just
/// before commonly needs.
async fn stop_grace_over(stop: &mut ShutdownWatch) {
    stop.aborting().await;
    tokio::time::sleep(UPLOAD_GRACE).await;
}

/// How long a stop waits for the upload of a client that has already disconnected.
const UPLOAD_GRACE: Duration = Duration::from_secs(1);
