//! Opens connections through the relay of a forward.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::bundle_records::{BundleInfo, BundleRecords};
use super::error::{ConnectFailure, LogDedup};
use super::pool_handle::SlotRefusal;
use crate::bundle::error::OpenError;
use crate::bundle::event::End;
use crate::bundle::record::FailureClass;
use crate::bundle_driver::{BundleEnd, BundleHandle, Flow, OpenFlowError};
use crate::clock;
use crate::config::Remote;
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::session::{CircuitBreaker, Decision, HoldTime};
use crate::telemetry::{FailureStatus, ForwardMetrics};

/// Opens flows in the current bundle. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct BundleClient {
    shared: Arc<Shared>,
}

/// What the clients and the task of the bundle share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The current bundle.
    pub(super) bundle: watch::Sender<Option<BundleHandle>>,
    /// The last failure to reach the relay while there was no stripe.
    pub(super) failure: watch::Sender<Option<Arc<Unreachable>>>,
    /// Refuses connections for a while after the relay could not be reached.
    breaker: Mutex<CircuitBreaker<ConnectFailure>>,
    log_dedup: Mutex<LogDedup>,
    pub(super) metrics: Arc<ForwardMetrics>,
    /// Connections that use a bundle or wait for one.
    users: AtomicUsize,
    /// There is another user.
    pub(super) changed: Notify,
    pub(super) records: BundleRecords,
}

/// Why the relay cannot be reached.
#[derive(Debug)]
pub(super) struct Unreachable {
    pub(super) failure: ConnectFailure,
    /// As in [`SlotRefusal`].
    pub(super) omitted: Option<u64>,
}

/// A connection that the relay has connected.
#[derive(Debug)]
pub(super) struct OpenFlow {
    pub(super) flow: Flow,
    bundle: BundleHandle,
    _user: User,
}

impl BundleClient {
    pub(super) fn new(metrics: Arc<ForwardMetrics>) -> (Self, Arc<Shared>) {
        let shared = Arc::new(Shared {
            bundle: watch::Sender::new(None),
            failure: watch::Sender::new(None),
            breaker: Mutex::new(CircuitBreaker::new()),
            log_dedup: Mutex::default(),
            metrics,
            users: AtomicUsize::new(0),
            changed: Notify::new(),
            records: BundleRecords::default(),
        });
        let client = Self {
            shared: Arc::clone(&shared),
        };
        (client, shared)
    }

    /// Lets the relay connect to a destination. The caller has a deadline.
    ///
    /// # Errors
    ///
    /// If the relay cannot be reached, or cannot connect.
    pub(super) async fn open(&self, remote: &Remote) -> Result<OpenFlow, SlotRefusal> {
        if let Some(refusal) = self.shared.refusal(clock::now()) {
            return Err(refusal);
        }
        let mut failures = self.shared.failure.subscribe();
        let user = User::new(&self.shared);
        let opened = tokio::select! {
            biased;
            opened = self.open_in_a_bundle(remote, user) => return opened,
            changed = failures.changed() => changed,
        };
        let failure = failures.borrow().clone();
        Err(match failure.filter(|_| opened.is_ok()) {
            Some(unreachable) => SlotRefusal {
                omitted: unreachable.omitted,
                ..SlotRefusal::of(unreachable.failure.clone())
            },
            None => SlotRefusal::stopping(),
        })
    }

    /// Returns what is known about the current bundle.
    pub(super) fn info(&self, now: Instant) -> Option<BundleInfo> {
        let bundle = self.shared.bundle.borrow().clone();
        let status = bundle.filter(|bundle| bundle.end().is_none())?.status();
        Some(self.shared.records.info(now, &status))
    }

    /// Returns the last failure of a stripe.
    pub(super) fn last_failure(&self) -> Option<FailureStatus> {
        self.shared.records.failure()
    }

    async fn open_in_a_bundle(&self, remote: &Remote, user: User) -> Result<OpenFlow, SlotRefusal> {
        let Some((host, port)) = destination(remote) else {
            return Err(SlotRefusal::internal());
        };
        let mut bundles = self.shared.bundle.subscribe();
        loop {
            let is_usable = |bundle: &Option<BundleHandle>| {
                bundle.as_ref().is_some_and(|bundle| bundle.end().is_none())
            };
            let bundle = bundles.wait_for(is_usable).await;
            let Some(bundle) = bundle.ok().and_then(|bundle| bundle.clone()) else {
                return Err(SlotRefusal::stopping());
            };
            match bundle.open(host, port).await {
                Ok(flow) => {
                    self.shared.handle_relay();
                    return Ok(OpenFlow {
                        flow,
                        bundle,
                        _user: user,
                    });
                }
                // The next bundle can open it: nothing was connected.
                Err(OpenFlowError::Ended(BundleEnd::Ended(
                    End::Closed | End::ClosedByPeer | End::Forgotten(_) | End::Lost,
                ))) => {}
                // It is closing, and is replaced.
                Err(OpenFlowError::Bundle(OpenError::Ended)) => {
                    if bundles.changed().await.is_err() {
                        return Err(SlotRefusal::stopping());
                    }
                }
                Err(error) => return Err(SlotRefusal::of(failure(&error, remote))),
            }
        }
    }
}

impl OpenFlow {
    /// Returns why the bundle has ended, if it has: a reset flow was lost with it then.
    pub(super) fn bundle_end(&self) -> Option<BundleEnd> {
        self.bundle.end()
    }

    /// Returns true if the bundle has a stripe that carries records.
    pub(super) fn is_connected(&self) -> bool {
        self.bundle.is_connected()
    }
}

impl Shared {
    /// Returns why a connection is refused at once: the relay could not be reached just before.
    fn refusal(&self, now: Instant) -> Option<SlotRefusal> {
        let bundle = self.bundle.borrow().clone();
        if bundle.is_some_and(|bundle| bundle.is_connected()) {
            self.handle_relay();
            return None;
        }
        let failure = match self.breaker().check(now) {
            // One session serves all that wait.
            Decision::Allow | Decision::Probe | Decision::Wait => return None,
            Decision::Reject(failure) => failure,
        };
        self.metrics.record_failure(failure.status(now));
        let omitted = self.omitted(now, &failure);
        Some(SlotRefusal {
            omitted,
            ..SlotRefusal::of(failure)
        })
    }

    /// The relay has answered.
    pub(super) fn handle_relay(&self) {
        self.breaker().handle_success();
    }

    /// There is no relay, as a session has shown that was started at `begun`.
    pub(super) fn handle_no_relay(&self, now: Instant, begun: Instant, failure: ConnectFailure) {
        let growth = HoldTime::Exponential;
        self.breaker().handle_failure(now, begun, failure, growth);
    }

    /// Counts a failure. Returns how many were not logged before, if it should be logged.
    pub(super) fn omitted(&self, now: Instant, failure: &ConnectFailure) -> Option<u64> {
        let log = self.log_dedup.lock();
        let mut log = log.unwrap_or_else(PoisonError::into_inner);
        log.handle_failure(now, failure, 1)
    }

    fn breaker(&self) -> MutexGuard<'_, CircuitBreaker<ConnectFailure>> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if a connection uses a bundle or waits for one.
    pub(super) fn is_used(&self) -> bool {
        self.users.load(Relaxed) > 0
    }
}

/// A connection that uses a bundle or waits for one.
#[derive(Debug)]
struct User {
    shared: Arc<Shared>,
}

impl User {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.users.fetch_add(1, Relaxed);
        shared.changed.notify_one();
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.shared.users.fetch_sub(1, Relaxed);
    }
}

/// Returns what the relay connects to. A port alone is one of the target.
fn destination(remote: &Remote) -> Option<(&str, u16)> {
    match remote {
        Remote::Port(port) => Some(("127.0.0.1", *port)),
        Remote::Host { host, port } => Some((host, *port)),
        Remote::Document { .. } | Remote::Requested(_) => None,
    }
}

fn failure(error: &OpenFlowError, remote: &Remote) -> ConnectFailure {
    let class = match error {
        OpenFlowError::Failed(class, _) => match class {
            FailureClass::NotAllowed => ErrorClass::DestinationForbidden,
            FailureClass::NotResolved => ErrorClass::DestinationNotFound,
            FailureClass::Refused => ErrorClass::DestinationRefused,
            FailureClass::Unreachable | FailureClass::TimedOut => ErrorClass::DestinationTimedOut,
            FailureClass::Limit | FailureClass::Other => ErrorClass::RelayUnavailable,
        },
        OpenFlowError::Reset => ErrorClass::DestinationRefused,
        OpenFlowError::Bundle(_) => ErrorClass::OutOfResources,
        OpenFlowError::Ended(_) => ErrorClass::RelayUnavailable,
    };
    let text = match error {
        OpenFlowError::Failed(..) | OpenFlowError::Reset => Printable::of(format_args!(
            "the relay on the target cannot connect to {remote}: {error}"
        )),
        OpenFlowError::Bundle(_) | OpenFlowError::Ended(_) => {
            Printable::of(format_args!("the relay on the target: {error}"))
        }
    };
    ConnectFailure::Relay(class, text)
}
