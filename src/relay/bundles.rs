//! The bundles of a relay.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tracing::{debug, warn};

use super::RelayOptions;
use super::dial::Dialler;
use super::log_limit::{Line, LogLimit};
use super::metrics::{BundleReport, Metrics, RelayReport};
use crate::bundle::Options;
use crate::bundle::features;
use crate::bundle::handshake::{Hello, RefusalClass};
use crate::bundle::ids::BundleId;
use crate::bundle_driver::{self, BundleHandle, Driver, StripeHandle};
use crate::clock;
use crate::printable::Printable;

/// The bundles, and what they share.
#[derive(Debug)]
pub(super) struct Bundles {
    options: Options,
    max: usize,
    pub(super) dialler: Dialler,
    pub(super) metrics: Metrics,
    pub(super) log_limits: LogLimits,
    known: Mutex<Known>,
    /// Bundles that were created, for the runner.
    created: mpsc::Sender<Created>,
    is_stopping: AtomicBool,
    /// A flow or a bundle has ended.
    changed: Notify,
    /// Bounds the flows of all bundles together.
    pub(super) flow_slots: Arc<Semaphore>,
}

/// The limits of log lines, by kind.
#[derive(Debug)]
pub(super) struct LogLimits {
    /// Flows that could not be connected.
    pub(super) failed_flows: LogLimit,
    /// The begin of bundles.
    pub(super) new_bundles: LogLimit,
    /// The end of bundles.
    pub(super) ended_bundles: LogLimit,
    /// Bundles that were refused.
    pub(super) refused_bundles: LogLimit,
}

#[derive(Debug, Default)]
struct Known {
    bundles: BTreeMap<BundleId, (u64, BundleHandle)>,
    /// Number of bundles ever created: names of bundles in logs, since their ids are secret.
    last: u64,
}

/// A bundle that is to be run.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) id: BundleId,
    pub(super) number: u64,
    pub(super) handle: BundleHandle,
    pub(super) driver: Driver,
}

/// Why a stripe is refused, and its byte stream.
pub(super) type Refused = (RefusalClass, Printable, TcpStream);

impl Bundles {
    /// Creates the state, and the source of the bundles that are to be run.
    pub(super) fn new(options: RelayOptions) -> (Arc<Self>, mpsc::Receiver<Created>) {
        let (created, receiver) = mpsc::channel(options.max_bundles.max(1));
        let bundles = Arc::new(Self {
            options: Options {
                keep: options.keep,
                features: features::ALL,
                ..Options::DEFAULT
            },
            max: options.max_bundles,
            dialler: Dialler::new(options.rules, options.connect_timeout),
            metrics: Metrics::default(),
            log_limits: LogLimits {
                failed_flows: LogLimit::new(),
                new_bundles: LogLimit::new(),
                ended_bundles: LogLimit::new(),
                refused_bundles: LogLimit::new(),
            },
            known: Mutex::default(),
            created,
            is_stopping: AtomicBool::new(false),
            changed: Notify::new(),
            flow_slots: Arc::new(Semaphore::new(MAX_FLOWS)),
        });
        (bundles, receiver)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stripe to its bundle, which is created if it is new.
    pub(super) fn accept(
        &self,
        hello: &Hello,
        stream: TcpStream,
        rest: Vec<u8>,
    ) -> Result<StripeHandle, Refused> {
        let handle = match self.find_or_create(hello) {
            Ok(handle) => handle,
            Err((class, text)) => return Err((class, text, stream)),
        };
        let accepted = handle.accept_stripe(hello, stream, rest);
        accepted.map_err(|(class, stream)| (class, text_of(class).into(), stream))
    }

    fn find_or_create(&self, hello: &Hello) -> Result<BundleHandle, (RefusalClass, Printable)> {
        let mut known = self.known();
        if let Some((_, handle)) = known.bundles.get(&hello.bundle)
            && handle.end().is_none()
        {
            return Ok(handle.clone());
        }
        let refused = |class: RefusalClass| (class, text_of(class).into());
        if self.is_stopping.load(Relaxed) {
            return Err((RefusalClass::Other, "the relay is stopping".into()));
        }
        if hello.stripe != 0 {
            return Err(refused(RefusalClass::UnknownBundle));
        }
        if hello.version < crate::bundle::handshake::VERSION {
            return Err(refused(RefusalClass::Version));
        }
        known.bundles.remove(&hello.bundle);
        if known.bundles.len() >= self.max {
            known.forget_unused();
        }
        if known.bundles.len() >= self.max {
            if let Some(Line { omitted }) = self.log_limits.refused_bundles.admit(clock::now()) {
                let max_bundles = self.max;
                warn!(
                    max_bundles,
                    omitted, "too many daemons use this relay; refusing one more"
                );
            }
            return Err(refused(RefusalClass::TooManyBundles));
        }
        let (handle, driver) = bundle_driver::relay(self.options.clone());
        known.last += 1;
        let created = Created {
            id: hello.bundle,
            number: known.last,
            handle: handle.clone(),
            driver,
        };
        if self.created.try_send(created).is_err() {
            return Err(refused(RefusalClass::TooManyBundles));
        }
        let entry = (known.last, handle.clone());
        known.bundles.insert(hello.bundle, entry);
        self.metrics.bundles.add(1);
        Ok(handle)
    }

    /// A bundle is no longer run.
    pub(super) fn forget(&self, id: BundleId, number: u64) {
        let mut known = self.known();
        // A new bundle may have the same id.
        let is_same = |(known, _): &(u64, BundleHandle)| *known == number;
        if known.bundles.get(&id).is_some_and(is_same) {
            known.bundles.remove(&id);
        }
        drop(known);
        self.handle_ended();
    }

    /// New bundles and flows are refused from now on.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    fn handles(&self) -> Vec<(u64, BundleHandle)> {
        self.known().bundles.values().cloned().collect()
    }

    /// Returns the number of flows whose end is not complete.
    pub(super) fn flow_count(&self) -> usize {
        let handles = self.handles();
        let flows = handles.iter().map(|(_, handle)| handle.status().flows);
        flows.sum()
    }

    /// A flow or a bundle has ended.
    pub(super) fn handle_ended(&self) {
        self.changed.notify_one();
    }

    /// Waits until no flow is left.
    pub(super) async fn drained(&self) {
        while self.flow_count() > 0 {
            // The last acknowledgement has no event.
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(DRAIN_POLL) => {}
            }
        }
    }

    /// Closes all bundles, and waits until they have ended.
    pub(super) async fn close(&self) {
        for (_, handle) in self.handles() {
            handle.close();
        }
        while !self.known().bundles.is_empty() {
            self.changed.notified().await;
        }
    }

    /// Returns the state of all bundles.
    pub(super) fn report(&self) -> RelayReport {
        let handles = self.handles();
        let bundles = handles.into_iter().map(|(number, handle)| BundleReport {
            number,
            status: handle.status(),
        });
        self.metrics.report(bundles.collect())
    }
}

impl Known {
    /// Closes the bundles that have neither a stripe nor a flow.
    fn forget_unused(&mut self) {
        self.bundles.retain(|_, (number, handle)| {
            let status = handle.status();
            let is_used = !status.stripes.is_empty() || status.flows > 0;
            if !is_used {
                debug!(number, "closing an unused bundle for a new one");
                handle.close();
            }
            is_used
        });
    }
}

fn text_of(class: RefusalClass) -> &'static str {
    match class {
        RefusalClass::Version => "this relay does not speak the version of the daemon",
        RefusalClass::UnknownBundle => {
            "this relay was restarted, or the daemon was away for too long"
        }
        RefusalClass::TooManyBundles => "too many daemons use this relay (--max-bundles)",
        RefusalClass::TooManyStripes => "too many stripes",
        RefusalClass::Invalid => "the daemon acknowledges what was not sent",
        RefusalClass::Other => "refused",
    }
}

/// How often the remaining flows are counted.
const DRAIN_POLL: std::time::Duration = std::time::Duration::from_millis(100);

/// Maximum number of flows in all bundles: a quarter of the file descriptors that the unit allows.
pub(super) const MAX_FLOWS: usize = 16 * 1024;
