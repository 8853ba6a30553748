//! Shutdown phases of a forward.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::byte_counters::ByteCounters;
use crate::clock;

/// Shutdown phase. It only advances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShutdownPhase {
    /// No stop was requested.
    Running,
    /// Accepts no new connections; accepted ones continue. Another forward may have taken over.
    Released,
    /// Accepted connections without a stream are dropped; open ones may finish.
    Draining,
    /// The same, and open connections that are idle are reset.
    ClosingIdle,
    /// Open connections are reset.
    Aborting,
}

/// Watches the shutdown phase on behalf of a task.
#[derive(Clone, Debug)]
pub(super) struct ShutdownWatch {
    phase: watch::Receiver<ShutdownPhase>,
    /// When [`grace_over`](Self::grace_over) first saw that open connections must end.
    aborting_since: Option<Instant>,
}

impl ShutdownWatch {
    pub(super) fn new(stop: watch::Receiver<ShutdownPhase>) -> Self {
        Self {
            phase: stop,
            aborting_since: None,
        }
    }

    /// Returns true if connections may be aborted: a stop was requested, or the owner is gone.
    pub(super) fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= ShutdownPhase::Draining || self.phase.has_changed().is_err()
    }

    /// Waits until nothing more must be accepted.
    pub(super) async fn released(&mut self) {
        #[cfg(test)]
        if crate::mutants::Mutant::DeafDrain.is_active() {
            return self.reached(ShutdownPhase::Aborting).await;
        }
        self.reached(ShutdownPhase::Released).await;
    }

    /// Waits until no new streams must be opened.
    pub(super) async fn draining(&mut self) {
        self.reached(ShutdownPhase::Draining).await;
    }

    /// Waits until idle connections must end.
    pub(super) async fn closing_idle(&mut self) {
        #[cfg(test)]
        if crate::mutants::Mutant::ResetByReload.is_active() {
            return self.reached(ShutdownPhase::Released).await;
        }
        self.reached(ShutdownPhase::ClosingIdle).await;
    }

    /// Waits until open connections must end.
    pub(super) async fn aborting(&mut self) {
        self.reached(ShutdownPhase::Aborting).await;
    }

    /// Waits until open connections must end, and then for the time that the upload of a client
    /// which has already closed commonly needs. Waiting again does not add to that time.
    pub(super) async fn grace_over(&mut self) {
        self.aborting().await;
        let since = *self
            .aborting_since
            .get_or_insert_with(|| clock::now().into());
        sleep_until(since + UPLOAD_GRACE).await;
    }

    /// Sleeps for `pause`, but not after [`ShutdownPhase::Released`]: the address must be free
    /// soon.
    pub(super) async fn pause(&mut self, pause: Duration) {
        tokio::select! {
            () = self.released() => {}
            () = sleep(pause) => {}
        }
    }

    async fn reached(&mut self, phase: ShutdownPhase) {
        // An error means that the sender was dropped, which counts as a stop.
        drop(self.phase.wait_for(|now| *now >= phase).await);
    }
}

/// Waits until this connection must end. Idle connections end earlier than others.
pub(super) async fn stopped(stop: &mut ShutdownWatch, counters: &ByteCounters) {
    stop.closing_idle().await;
    let moved = || (counters.sent(), counters.received());
    loop {
        let before = moved();
        if timeout(IDLE, stop.aborting()).await.is_ok() || moved() == before {
            return;
        }
    }
}

/// How long a stop waits for the upload of a client that has already closed.
const UPLOAD_GRACE: Duration = Duration::from_secs(1);

/// A connection without traffic for this long is idle.
const IDLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_ends_with_a_stop() {
        let (sender, receiver) = watch::channel(ShutdownPhase::Running);
        let mut shutdown = ShutdownWatch::new(receiver);
        let long = Duration::from_secs(3600);

        shutdown.pause(Duration::from_millis(1)).await;
        sender.send_replace(ShutdownPhase::Released);
        let limit = Duration::from_secs(60);
        let paused = timeout(limit, shutdown.pause(long)).await;

        assert_eq!(paused, Ok(()));
    }
}
