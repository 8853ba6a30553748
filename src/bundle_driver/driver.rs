//! The task that owns the tasks of the stripes, and handles the deadlines of the bundle.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::codec::FRAME_IDLE;
use super::handle::BundleHandle;
use super::shared::{BundleEnd, Inner, Shared};
use super::stripe::StripeTask;
use crate::bundle::ids::BundleId;
use crate::bundle::limits::MAX_STRIPES;
use crate::bundle::{Bundle, Options};
use crate::clock;

/// Runs a bundle. Dropping it ends the bundle and resets its flows.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    added: mpsc::Receiver<StripeTask>,
    tasks: JoinSet<()>,
}

/// Creates the daemon's end of a bundle, and the driver that must be run for it.
pub fn daemon(id: BundleId, options: Options) -> (BundleHandle, Driver) {
    create(Bundle::daemon(clock::now(), id, options))
}

/// Creates the relay's end of a bundle, and the driver that must be run for it.
pub fn relay(options: Options) -> (BundleHandle, Driver) {
    create(Bundle::relay(clock::now(), options))
}

fn create(bundle: Bundle) -> (BundleHandle, Driver) {
    let shared = Arc::new(Shared::new(bundle));
    let (add, added) = mpsc::channel(2 * MAX_STRIPES);
    let driver = Driver {
        shared: Arc::clone(&shared),
        added,
        tasks: JoinSet::new(),
    };
    (BundleHandle::new(shared, add), driver)
}

impl Driver {
    /// Runs until the bundle has ended and its stripes are closed.
    pub async fn run(mut self) -> BundleEnd {
        let end = self.drive().await;
        debug!(%end, "the relay bundle has ended");
        self.added.close();
        while let Some(task) = self.added.recv().await {
            self.tasks.spawn(task);
        }
        // Each of them has a deadline.
        while self.tasks.join_next().await.is_some() {}
        end
    }

    async fn drive(&mut self) -> BundleEnd {
        let mut ended = self.shared.ended.subscribe();
        let mut sweep = interval(FRAME_IDLE);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.shared.handle_deadline();
            tokio::select! {
                ended = ended.wait_for(Option::is_some) => {
                    let end = ended.ok().and_then(|end| end.clone());
                    return end.unwrap_or(BundleEnd::Internal);
                }
                Some(task) = self.added.recv() => drop(self.tasks.spawn(task)),
                // A stripe whose task panicked counts as lost.
                Some(_) = self.tasks.join_next() => {}
                () = self.shared.deadline_changed.notified() => {}
                _ = sweep.tick() => self.shared.with(Inner::end_idle_frames),
                () = sleep_until(deadline) => {}
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.with(Inner::abandon);
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
