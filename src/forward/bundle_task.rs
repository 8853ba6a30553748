//! The bundle of a forward with a relay: the task that runs it and supplies its stripes.
//!
//! ```text
//!   no bundle ── a connection ─▶ bundle ── unused for a while, lost, or ended by the relay ─▶ no bundle
//!                                  │ wants stripes
//!                                  ▼
//!                     pool: session ─▶ stream ─▶ stripe; pauses grow after failures
//! ```
//!
//! Each stripe holds a lease of the pool, so that sessions are limited, counted and ended as those of
//! other forwards.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, Span, debug, error, info, warn};

use super::bundle_client::BundleClient;
use super::bundle_supplier::{BundleContext, Supplier};
use super::error::ConnectFailure;
use super::pool_handle::PoolHandle;
use crate::bundle::Options;
use crate::bundle::event::End;
use crate::bundle::features;
use crate::bundle::ids::BundleId;
use crate::bundle_driver::{self, BundleEnd, BundleHandle};
use crate::clock;
use crate::config;
use crate::error_class::ErrorClass;
use crate::network;
use crate::panics::caught;
use crate::telemetry::ForwardMetrics;

/// Runs the bundles of a forward, one after the other.
#[derive(Debug)]
pub(super) struct BundleTask(BundleContext);

/// A [`BundleTask`] that runs. Dropping it ends its bundle without telling the relay.
#[derive(Debug)]
pub(super) struct RunningBundle {
    tasks: JoinSet<()>,
    end: watch::Sender<bool>,
}

impl RunningBundle {
    /// Closes the bundle.
    pub(super) async fn end(mut self) {
        self.end.send_replace(true);
        while let Some(done) = self.tasks.join_next().await {
            if let Err(error) = done {
                warn!(%error, "the task of the relay bundle panicked");
            }
        }
    }
}

impl BundleTask {
    /// Creates the task and its client, if the forward has a relay.
    pub(super) fn new(
        settings: &Arc<config::Forward>,
        pool: &Arc<PoolHandle>,
        metrics: &Arc<ForwardMetrics>,
    ) -> Option<(BundleClient, Self)> {
        let relay = settings.relay?;
        let (client, shared) = BundleClient::new(Arc::clone(metrics));
        let context = BundleContext {
            shared,
            pool: Arc::clone(pool),
            settings: Arc::clone(settings),
            relay,
        };
        Some((client, Self(context)))
    }

    /// Runs it until [`RunningBundle::end`].
    pub(super) fn spawn(self, span: &Span) -> RunningBundle {
        let (end, mut ended) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let run = async move { self.run(&mut ended).await };
        tasks.spawn(run.instrument(span.clone()));
        RunningBundle { tasks, end }
    }

    async fn run(self, ended: &mut watch::Receiver<bool>) {
        while self.wait_for_user(ended).await {
            if let Err(panic) = caught(self.run_bundle(ended)).await {
                error!(%panic, "the task of the relay bundle panicked and its connections are lost; restarting");
                self.0
                    .shared
                    .metrics
                    .record_failure(ConnectFailure::Internal.status(clock::now()));
                pause_unless_ended(PAUSE_AFTER_PANIC, ended).await;
            }
            self.0.shared.bundle.send_replace(None);
        }
    }

    /// Returns false if no connection will come.
    async fn wait_for_user(&self, ended: &mut watch::Receiver<bool>) -> bool {
        while !self.0.shared.is_used() {
            tokio::select! {
                () = self.0.shared.changed.notified() => {}
                () = wait_for_end(ended) => return false,
            }
        }
        !*ended.borrow()
    }

    /// Runs one bundle until it has ended.
    async fn run_bundle(&self, ended: &mut watch::Receiver<bool>) {
        let Some(id) = network::random_bytes() else {
            let text = "the system has no random numbers for the id of a relay bundle";
            self.0.report(
                ConnectFailure::Relay(ErrorClass::OutOfResources, text.into()),
                true,
            );
            return pause_unless_ended(PAUSE_AFTER_PANIC, ended).await;
        };
        let options = Options {
            max_stripes: self.0.relay.stripes,
            // It must outlive the start of its first session.
            keep: self
                .0
                .settings
                .resume_timeout
                .max(self.0.settings.connect_timeout),
            features: match self.0.relay.compress {
                config::Compress::Auto => features::ZSTD,
                config::Compress::On => features::ZSTD | features::ALWAYS,
                config::Compress::Off => 0,
            },
            ..Options::DEFAULT
        };
        let (handle, driver) = bundle_driver::daemon(BundleId::new(id), options);
        self.0.shared.records.handle_bundle(clock::now());
        self.0.shared.bundle.send_replace(Some(handle.clone()));
        let mut driving = pin!(driver.run());
        let mut supplier = Supplier::new(&self.0, &handle);
        let has_ended = tokio::select! {
            end = &mut driving => {
                info!(why = %end, "the relay bundle has ended");
                if let BundleEnd::Ended(End::Forgotten(_)) = end {
                    // Another relay than before has answered.
                    self.0.shared.handle_relay();
                }
                true
            }
            () = supplier.run() => false,
            () = self.unused(&handle) => {
                debug!("closing the relay bundle, which is unused");
                false
            }
            () = wait_for_end(ended) => false,
            // The next bundle can only be used after it: clients that do not read must not delay that.
            () = handle.closing() => {
                let drained = timeout(DRAIN_TIMEOUT, &mut driving).await;
                info!(is_drained = drained.is_ok(), "the relay has ended the bundle");
                true
            }
        };
        if has_ended {
            // It cannot end at once again and again.
            let pause = supplier.pause();
            drop(supplier);
            return pause_unless_ended(pause, ended).await;
        }
        // What is being started now is not needed.
        drop(supplier);
        tokio::select! {
            _ = &mut driving => return,
            () = flushed(&handle) => {}
        }
        handle.close();
        if timeout(CLOSE_TIMEOUT, driving).await.is_err() {
            debug!("the relay did not confirm the end of the bundle in time");
        }
    }

    /// Returns when no connection has used the bundle for some time, and none will.
    async fn unused(&self, handle: &BundleHandle) {
        let time = self.0.settings.resume_timeout.max(MIN_UNUSED);
        let mut checks = 0;
        loop {
            sleep(time / CHECKS).await;
            checks = if self.0.shared.is_used() {
                0
            } else {
                checks + 1
            };
            if checks >= CHECKS {
                self.0.shared.bundle.send_replace(None);
                // A connection counts before it looks for a bundle.
                if !self.0.shared.is_used() {
                    return;
                }
                self.0.shared.bundle.send_replace(Some(handle.clone()));
                checks = 0;
            }
        }
    }
}

async fn wait_for_end(ended: &mut watch::Receiver<bool>) {
    // The sender is dropped only with the task.
    drop(ended.wait_for(|ended| *ended).await);
}

/// Waits until the relay knows how each flow has ended, or for a limited time.
async fn flushed(handle: &BundleHandle) {
    for _ in 0..FLUSH_CHECKS {
        if handle.status().flows == 0 {
            return;
        }
        sleep(FLUSH_PAUSE).await;
    }
}

async fn pause_unless_ended(pause: Duration, ended: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = sleep(pause) => {}
        () = wait_for_end(ended) => {}
    }
}

/// How often it is checked whether the relay knows the end of each flow, and the pause between.
const FLUSH_CHECKS: u32 = 50;
const FLUSH_PAUSE: Duration = Duration::from_millis(20);

/// Time for clients to read what has arrived when the relay has ended a bundle.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the relay to confirm the end of a bundle.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Minimum time for which a bundle without connections is kept.
const MIN_UNUSED: Duration = Duration::from_secs(1);

/// Checks for connections in that time.
const CHECKS: u32 = 8;

/// Pause after a panic.
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);
