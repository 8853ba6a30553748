//! Per-forward metrics: what a forward has and is now, and the totals that it shares with its
//! predecessors. Cheap to read at any time from any thread.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{ConnectionRecord, Stage, StageTimes};
use super::totals::ForwardTotals;
use crate::error_class::ErrorClass;
use crate::printable::Printable;

/// Metrics of one forward.
#[derive(Debug, Default)]
pub struct ForwardMetrics {
    /// Connections that wait for a session.
    pub waiting: Gauge,
    /// Connections that have a session.
    pub open: Gauge,
    /// Established sessions, including those whose websocket is being replaced.
    pub sessions: AtomicUsize,
    /// Of these, sessions that wait for a connection and can carry data now.
    pub ready: AtomicUsize,
    /// Counters and histograms.
    pub totals: Arc<ForwardTotals>,
    /// Past successes and failures.
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    was_ready: bool,
    /// Failure to establish a session.
    failure: Option<FailureStatus>,
    /// Failure to reach the destination.
    refusal: Option<FailureStatus>,
    /// Destination reported by the agent, if it is not the configured one.
    destination: Option<Printable>,
}

/// A failure of a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureStatus {
    /// Class of the error.
    pub class: ErrorClass,
    /// Error message.
    pub error: Printable,
    /// Suggested action; empty if there is none.
    pub hint: Printable,
    /// Time at which it began.
    pub since: Instant,
    /// Time at which it was last observed.
    pub seen: Instant,
}

impl ForwardMetrics {
    /// Creates the metrics of a forward that continues these totals.
    pub fn new(totals: Arc<ForwardTotals>) -> Self {
        Self {
            totals,
            ..Self::default()
        }
    }

    /// Records an established session; clears the failure to establish one.
    pub fn handle_success(&self) {
        let mut past = self.past();
        past.was_ready = true;
        past.failure = None;
    }

    /// Records a failed session start or forward start. An ongoing failure keeps its beginning.
    pub fn record_failure(&self, failure: FailureStatus) {
        self.totals.count_failure(failure.class);
        failure.follow(&mut self.past().failure);
    }

    /// Records a failed session start.
    pub fn record_session_failure(&self, failure: FailureStatus) {
        self.totals.count_failed_session(failure.class);
        self.record_failure(failure);
    }

    /// Counts a failure that says nothing about other connections.
    pub fn count_failure(&self, class: ErrorClass) {
        self.totals.count_failure(class);
    }

    /// Counts a failed session start that says nothing about other connections.
    pub fn count_session_failure(&self, class: ErrorClass) {
        self.totals.count_failed_session(class);
        self.count_failure(class);
    }

    /// Records that the destination could not be reached through an established session.
    pub fn record_refusal(&self, refusal: FailureStatus) {
        self.totals.count_failure(refusal.class);
        refusal.follow(&mut self.past().refusal);
    }

    /// Records a connection that can carry data now.
    pub fn record_opened(&self, stages: &StageTimes) {
        self.totals.timings.record_opened(stages);
    }

    /// Records the time from the open stream to the first byte of the destination.
    pub fn record_first_byte(&self, time: Duration) {
        self.totals.timings.record_stage(Stage::FirstByte, time);
    }

    /// Records a connection that has ended.
    pub fn record_end(&self, record: &ConnectionRecord) {
        self.totals.record_end(record);
    }

    /// Records data from the destination; clears the failure to reach it. `shared` is the beginning
    /// of the connection if its session is shared: the forward serves, so a failure to establish
    /// another session that was last observed before is cleared too.
    pub fn record_answer(&self, shared: Option<Instant>) {
        let mut past = self.past();
        past.refusal = None;
        past.failure
            .take_if(|failure| shared.is_some_and(|begin| failure.seen < begin));
    }

    /// Returns the current failure: that of session starts, else that of the destination.
    pub fn failure(&self) -> Option<FailureStatus> {
        let past = self.past();
        past.failure.clone().or_else(|| past.refusal.clone())
    }

    /// Returns true if the current failure is one to establish a session or to start the forward.
    pub fn cannot_start(&self) -> bool {
        self.past().failure.is_some()
    }

    /// Records the destination that the agent reported; `None` if it is the configured one. Returns
    /// true if it differs from that of the session before.
    pub fn record_destination(&self, destination: Option<Printable>) -> bool {
        let mut past = self.past();
        let is_new = past.destination != destination;
        past.destination = destination;
        is_new
    }

    /// Returns the destination that the agent reported, if it is not the configured one.
    pub fn destination(&self) -> Option<Printable> {
        self.past().destination.clone()
    }

    /// Returns true if a session has ever been established.
    pub fn was_ready(&self) -> bool {
        self.past().was_ready
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailureStatus {
    /// Replaces the previous failure and keeps its beginning.
    fn follow(self, previous: &mut Option<Self>) {
        let since = previous
            .as_ref()
            .map_or(self.since, |previous| previous.since);
        *previous = Some(Self { since, ..self });
    }
}

/// A counter of things that exist now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// Increments the gauge until the returned guard is dropped.
    pub fn count(&self) -> Count<'_> {
        self.0.fetch_add(1, Relaxed);
        Count(self)
    }

    /// Returns the current number.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// Guard of one counted item.
#[derive(Debug)]
pub struct Count<'a>(&'a Gauge);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn failure(class: ErrorClass, at: Instant) -> FailureStatus {
        FailureStatus {
            class,
            error: Printable::default(),
            hint: Printable::default(),
            since: at,
            seen: at,
        }
    }

    #[test]
    fn a_guard_is_counted_until_it_is_dropped() {
        let metrics = ForwardMetrics::default();
        let one = metrics.open.count();
        let two = metrics.open.count();
        assert_eq!(metrics.open.get(), 2);
        drop((one, two));
        assert_eq!(metrics.open.get(), 0);
    }

    #[test]
    fn a_failure_lasts_from_its_beginning_to_the_next_success() {
        let start = clock::now();
        let later = start + Duration::from_secs(5);
        let metrics = ForwardMetrics::default();

        metrics.record_failure(failure(ErrorClass::AccessDenied, start));
        metrics.record_failure(failure(ErrorClass::EndpointUnreachable, later));

        let known = metrics.failure().unwrap();
        assert_eq!(
            (known.class, known.since, known.seen),
            (ErrorClass::EndpointUnreachable, start, later)
        );
        let counted = [
            (ErrorClass::AccessDenied, 1),
            (ErrorClass::EndpointUnreachable, 1),
        ];
        assert_eq!(metrics.totals.failures(), BTreeMap::from(counted));
        assert!(!metrics.was_ready());
        metrics.handle_success();
        assert_eq!(metrics.failure(), None);
        assert!(metrics.was_ready());
    }

    #[test]
    fn a_successor_continues_the_totals_but_not_the_state() {
        let old = ForwardMetrics::default();
        old.record_session_failure(failure(ErrorClass::AccessDenied, clock::now()));
        let new = ForwardMetrics::new(Arc::clone(&old.totals));
        let _open = old.open.count();

        old.totals.sent.fetch_add(5, Relaxed);
        new.totals.sent.fetch_add(7, Relaxed);

        assert_eq!(new.totals.sent.load(Relaxed), 12);
        assert_eq!(
            new.totals.failures().get(&ErrorClass::AccessDenied),
            Some(&1)
        );
        assert_eq!((new.open.get(), new.failure()), (0, None));
    }

    #[test]
    fn a_reported_destination_is_new_once() {
        let metrics = ForwardMetrics::default();
        let record = |text: &str| metrics.record_destination(Some(text.into()));

        assert!(record("db:1") && !record("db:1") && record("db:2"));

        assert_eq!(metrics.destination(), Some("db:2".into()));
        assert!(metrics.record_destination(None) && !metrics.record_destination(None));
    }

    #[test]
    fn a_refused_destination_is_reported_until_it_sends_data() {
        let metrics = ForwardMetrics::default();

        metrics.record_refusal(failure(ErrorClass::DestinationRefused, clock::now()));
        // A success of another connection.
        metrics.handle_success();
        assert!(metrics.failure().is_some());
        metrics.record_answer(None);

        assert_eq!(metrics.failure(), None);
    }

    #[test]
    fn data_on_a_later_connection_of_a_shared_session_clears_a_failed_start() {
        let metrics = ForwardMetrics::default();
        let failed = clock::now();
        metrics.record_failure(failure(ErrorClass::EndpointUnreachable, failed));

        metrics.record_answer(None);
        metrics.record_answer(Some(failed));
        assert!(metrics.failure().is_some());
        metrics.record_answer(Some(failed + Duration::from_millis(1)));

        assert_eq!(metrics.failure(), None);
    }
}
