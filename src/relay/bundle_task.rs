//! Runs the bundles: a task for each, which owns the tasks of its flows.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{Instrument, info, info_span, warn};

use super::bundles::{Bundles, Created};
use super::flow_task;
use super::log_limit::Line;
use crate::bundle::event::End;
use crate::bundle::ids::BundleId;
use crate::bundle::record::FailureClass;
use crate::bundle_driver::{BundleEnd, BundleHandle};
use crate::clock;

/// Runs the bundles.
#[derive(Debug)]
pub(super) struct Runner {
    bundles: Arc<Bundles>,
    created: mpsc::Receiver<Created>,
    running: JoinSet<()>,
}

impl Runner {
    pub(super) fn new(bundles: Arc<Bundles>, created: mpsc::Receiver<Created>) -> Self {
        let running = JoinSet::new();
        Self {
            bundles,
            created,
            running,
        }
    }

    /// Runs the bundles until the future is dropped, and then continues when it is called again.
    pub(super) async fn run(&mut self) {
        loop {
            tokio::select! {
                Some(bundle) = self.created.recv() => {
                    let span = info_span!("bundle", number = bundle.number);
                    let task = run_bundle(Arc::clone(&self.bundles), bundle);
                    self.running.spawn(task.instrument(span));
                }
                // A panic was reported, and has ended the bundle.
                Some(_) = self.running.join_next() => {}
            }
        }
    }
}

async fn run_bundle(bundles: Arc<Bundles>, bundle: Created) {
    let _forget = ForgetOnDrop {
        bundles: &bundles,
        id: bundle.id,
        number: bundle.number,
    };
    let started = clock::now();
    if let Some(Line { omitted }) = bundles.log_limits.new_bundles.admit(started) {
        info!(omitted, "a daemon has connected");
    }
    let flows = serve_flows(&bundles, &bundle.handle);
    let (end, ()) = tokio::join!(bundle.driver.run(), flows);
    let Some(Line { omitted }) = bundles.log_limits.ended_bundles.admit(clock::now()) else {
        return;
    };
    let time = clock::since(started);
    match end {
        BundleEnd::Ended(End::Closed | End::ClosedByPeer) => {
            info!(?time, omitted, "bundle closed");
        }
        BundleEnd::Ended(
            End::ErrorAtPeer(_) | End::Protocol(_) | End::Forgotten(_) | End::Lost,
        )
        | BundleEnd::Internal => warn!(error = %end, ?time, omitted, "bundle ended"),
    }
}

struct ForgetOnDrop<'a> {
    bundles: &'a Bundles,
    id: BundleId,
    number: u64,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.bundles.forget(self.id, self.number);
    }
}

/// Connects the flows of a bundle until it has ended.
pub(super) async fn serve_flows(bundles: &Arc<Bundles>, handle: &BundleHandle) {
    let mut tasks = JoinSet::new();
    let lookups = bundles.dialler.lookups_of_a_bundle();
    loop {
        tokio::select! {
            flow = handle.next_open() => match flow {
                Some(flow) if bundles.is_stopping() => {
                    flow.fail(FailureClass::Other, "the relay is stopping".into());
                }
                Some(flow) => match Arc::clone(&bundles.flow_slots).try_acquire_owned() {
                    Ok(slot) => {
                        let task = flow_task::run(Arc::clone(bundles), lookups.clone(), flow);
                        let task = async move {
                            task.await;
                            drop(slot);
                        };
                        tasks.spawn(task.in_current_span());
                    }
                    Err(_) => flow.fail(
                        FailureClass::Limit,
                        "too many connections through this relay".into(),
                    ),
                },
                None => break,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    // All flows are reset, and end at once.
    while tasks.join_next().await.is_some() {}
}
