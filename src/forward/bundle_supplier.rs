//! Supplies the stripes of a bundle: starts their sessions, with pauses after failures.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tracing::{Instrument, debug, error, warn};

use super::bundle_client::{Shared, Unreachable};
use super::bundle_stripe::StripeStream;
use super::error::ConnectFailure;
use super::pool_handle::{AcceptPermit, PoolHandle, SlotRefusal};
use crate::bundle::event::StripeEnd;
use crate::bundle::ids::StripeId;
use crate::bundle_driver::{BundleHandle, StripeOutcome};
use crate::clock;
use crate::config;
use crate::error_class::ErrorClass;
use crate::panics::caught;
use crate::printable::Printable;
use crate::telemetry::ForwardMetrics;

/// What the bundles of a forward need.
#[derive(Debug)]
pub(super) struct BundleContext {
    pub(super) shared: Arc<Shared>,
    pub(super) pool: Arc<PoolHandle>,
    pub(super) settings: Arc<config::Forward>,
    pub(super) relay: config::Relay,
}

impl BundleContext {
    /// Reports that a stripe is missing. If it is the only one, connections do not wait for it.
    pub(super) fn report(&self, failure: ConnectFailure, is_alone: bool) {
        let omitted = self.shared.omitted(clock::now(), &failure);
        if is_alone {
            let unreachable = Unreachable { failure, omitted };
            self.shared
                .failure
                .send_replace(Some(Arc::new(unreachable)));
        } else if let Some(omitted) = omitted {
            let hint = failure.hint().unwrap_or_default();
            let omitted = Some(omitted).filter(|omitted| *omitted > 0);
            warn!(error = %failure, hint, omitted, "no further session to the relay; continuing with fewer");
        }
    }
}

/// Supplies the stripes of one bundle.
pub(super) struct Supplier<'a> {
    context: &'a BundleContext,
    handle: &'a BundleHandle,
    tasks: JoinSet<Event>,
    /// Stripes that are being started.
    starting: usize,
    permit: Option<AcceptPermit>,
    /// Failures in a row.
    failures: u32,
    /// No stripe is started before.
    resume_at: Instant,
}

/// What has happened to a stripe.
enum Event {
    Started(Box<Result<StripeStream, SlotRefusal>>),
    Ended {
        id: StripeId,
        outcome: StripeOutcome,
        /// It was used for a while.
        was_stable: bool,
        has_received: bool,
        /// When it was connected.
        begun: Instant,
    },
}

impl<'a> Supplier<'a> {
    pub(super) fn new(context: &'a BundleContext, handle: &'a BundleHandle) -> Self {
        Self {
            context,
            handle,
            tasks: JoinSet::new(),
            starting: 0,
            permit: None,
            failures: 0,
            resume_at: clock::now(),
        }
    }

    /// Runs until the bundle has ended.
    pub(super) async fn run(&mut self) {
        loop {
            let now = clock::now();
            let is_wanted = self.context.shared.is_used();
            let may_start = is_wanted && self.resume_at <= now;
            let pause = (is_wanted && !may_start).then_some(self.resume_at);
            tokio::select! {
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.handle(event),
                    Err(error) => {
                        debug!(%error, "a task of a session to the relay has failed");
                        self.handle_failure(None);
                    }
                },
                missing = self.handle.wait_for_demand(self.starting), if may_start => match missing {
                    Some(missing) => self.start(missing),
                    None => return std::future::pending().await,
                },
                () = sleep_or_pending(pause) => {}
                // A connection does not wait for the end of a pause without any stripe.
                () = self.context.shared.changed.notified() => if !self.handle.is_connected() {
                    self.resume_at = now;
                },
            }
        }
    }

    fn start(&mut self, missing: usize) {
        let permit = self.permit.get_or_insert_with(permit);
        let deadline = clock::now() + self.context.settings.connect_timeout;
        for _ in 0..missing {
            let pool = Arc::clone(&self.context.pool);
            let start = StripeStream::connect(pool, Arc::clone(permit), deadline);
            let start = async move {
                let started = caught(start).await;
                Event::Started(Box::new(started.unwrap_or_else(|panic| {
                    error!(%panic, "the start of a session to the relay panicked");
                    Err(SlotRefusal::internal())
                })))
            };
            self.tasks.spawn(start.in_current_span());
            self.starting += 1;
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Started(started) => {
                self.starting = self.starting.saturating_sub(1);
                match *started {
                    Ok(stream) => self.add(stream),
                    Err(refusal) => {
                        self.count_failure();
                        self.handle_failure(Some(refusal.failure));
                    }
                }
            }
            Event::Ended {
                id,
                outcome,
                was_stable,
                has_received,
                begun,
            } => {
                debug!(%outcome, was_stable, "a session to the relay has ended");
                self.handle_stripe_end(id, &outcome);
                match self.failure(&outcome, has_received) {
                    Some(failure) => self.handle_no_relay(begun, failure),
                    None if was_stable => {
                        self.failures = 0;
                        // The pause was that of a further session; now all are lost.
                        if !self.handle.is_connected() {
                            self.resume_at = clock::now();
                        }
                    }
                    None if matches!(outcome, StripeOutcome::Closed(StripeEnd::Unneeded)) => {}
                    None => self.handle_failure(None),
                }
            }
        }
    }

    fn add(&mut self, stream: StripeStream) {
        let (received, session) = (stream.has_received(), stream.session_id());
        let Some(stripe) = self.handle.connect_stripe(stream) else {
            debug!("the bundle takes no further session");
            return self.handle_failure(None);
        };
        let (begun, id) = (clock::now(), stripe.id());
        let shared = &self.context.shared;
        shared.records.handle_stripe(begun, id, session);
        let welcomed = welcomed(self.handle.clone(), id, Arc::clone(&shared.metrics));
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = stripe.ended() => outcome,
                never = welcomed => match never {},
            };
            Event::Ended {
                id,
                outcome,
                was_stable: clock::since(begun) >= STABLE,
                has_received: received.load(Relaxed),
                begun,
            }
        });
    }

    /// Records the end of a stripe for the status, unless it was wanted.
    fn handle_stripe_end(&self, id: StripeId, outcome: &StripeOutcome) {
        let records = &self.context.shared.records;
        records.handle_stripe_end(id);
        if !matches!(outcome, StripeOutcome::Closed(StripeEnd::Unneeded)) {
            let class = ErrorClass::SessionLost;
            let lost = ConnectFailure::Relay(class, Printable::of(outcome));
            self.count_failure();
            self.record(&lost);
        }
    }

    fn count_failure(&self) {
        let totals = &self.context.shared.metrics.totals;
        totals.stripe_failures.fetch_add(1, Relaxed);
    }

    /// Records a failure of a stripe for the status.
    fn record(&self, failure: &ConnectFailure) {
        let records = &self.context.shared.records;
        records.handle_failure(failure.status(clock::now()));
    }

    /// Refuses connections for a while, unless others still reach the relay.
    fn handle_no_relay(&mut self, begun: Instant, failure: ConnectFailure) {
        if !self.handle.is_connected() {
            let now = clock::now();
            self.context
                .shared
                .handle_no_relay(now, begun, failure.clone());
        }
        self.handle_failure(Some(failure));
    }

    /// Returns the error if the end of a stripe says that there is no relay.
    fn failure(&self, outcome: &StripeOutcome, has_received: bool) -> Option<ConnectFailure> {
        let port = self.context.relay.port;
        let text = match outcome {
            StripeOutcome::Closed(StripeEnd::Handshake(_) | StripeEnd::NoWelcome) => Printable::of(
                format_args!("port {port} on the target does not belong to a relay: {outcome}"),
            ),
            StripeOutcome::Closed(
                StripeEnd::Version(_) | StripeEnd::Features(_) | StripeEnd::Refused(..),
            ) => Printable::of(format_args!("port {port} on the target: {outcome}")),
            StripeOutcome::Lost(why) if !has_received => Printable::of(format_args!(
                "no relay answers on port {port} of the target: {why}"
            )),
            StripeOutcome::Lost(_)
            | StripeOutcome::Closed(StripeEnd::Unneeded | StripeEnd::Silent) => return None,
        };
        Some(ConnectFailure::Relay(ErrorClass::RelayUnavailable, text))
    }

    /// Pauses before the next start. The failures of sessions that were started together count as
    /// one.
    fn handle_failure(&mut self, failure: Option<ConnectFailure>) {
        let now = clock::now();
        if self.resume_at <= now {
            self.failures = self.failures.saturating_add(1);
            self.resume_at = now + self.pause();
        }
        let Some(failure) = failure else { return };
        self.record(&failure);
        if let ConnectFailure::Relay(..) = failure {
            self.context
                .shared
                .metrics
                .record_failure(failure.status(now));
        }
        // Others may still reach the relay. A stripe that got through to another program is no better
        // if it is started again.
        let is_last = if matches!(failure, ConnectFailure::Relay(..)) {
            self.handle.status().stripes.is_empty()
        } else {
            self.tasks.is_empty()
        };
        self.context.report(failure, is_last);
    }

    /// Returns the pause after the failures so far.
    pub(super) fn pause(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.min(10));
        (FIRST_PAUSE * doubled / 2).min(MAX_PAUSE)
    }
}

/// Clears the failure of the forward as soon as the relay has answered on a stripe.
async fn welcomed(handle: BundleHandle, id: StripeId, metrics: Arc<ForwardMetrics>) -> Infallible {
    let mut pause = FIRST_CHECK;
    while !handle.is_welcomed(id) {
        sleep(pause).await;
        pause = (pause * 2).min(MAX_CHECK);
    }
    metrics.handle_success();
    std::future::pending().await
}

/// The permit of stripes, whose number is bounded otherwise.
fn permit() -> AcceptPermit {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned();
    Arc::new(permit.expect("a new semaphore has a permit"))
}

async fn sleep_or_pending(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// A stripe that lived this long counts as a success.
const STABLE: Duration = Duration::from_secs(5);

/// Pause between checks whether the relay has answered, initial and maximum.
const FIRST_CHECK: Duration = Duration::from_millis(5);
const MAX_CHECK: Duration = Duration::from_millis(100);

/// Pause before a stripe is started after a failure, initial and maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(15);
