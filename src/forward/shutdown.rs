//! How a forward is told to stop.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// How far a stop has come. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Nobody has asked.
    No,
    /// Another forward accepts in its place, or nobody: what was accepted goes on.
    Release,
    /// Nothing new begins, nor what was accepted and waits; what is open may finish.
    Drain,
    /// The same, and what is open and idle is reset.
    Idle,
    /// What is open is reset.
    Now,
}

/// What a task watches.
#[derive(Clone, Debug)]
pub(super) struct ShutdownWatch(watch::Receiver<Stop>);

impl ShutdownWatch {
    pub(super) fn new(stop: watch::Receiver<Stop>) -> Self {
        Self(stop)
    }

    /// Waits until nothing more shall be accepted.
    pub(super) async fn released(&mut self) {
        self.reached(Stop::Release).await;
    }

    /// Waits until nothing new shall begin.
    pub(super) async fn asked(&mut self) {
        self.reached(Stop::Drain).await;
    }

    /// Waits until idle connections must end.
    pub(super) async fn idle(&mut self) {
        self.reached(Stop::Idle).await;
    }

    /// Waits until what is open shall end.
    pub(super) async fn now(&mut self) {
        self.reached(Stop::Now).await;
    }

    /// Waits for so long, but not after nothing more shall be accepted: the address must be free soon.
    pub(super) async fn pause(&mut self, pause: Duration) {
        tokio::select! {
            () = self.released() => {}
            () = sleep(pause) => {}
        }
    }

    async fn reached(&mut self, stop: Stop) {
        // An error means that whoever could stop is gone, which is a stop too.
        drop(self.0.wait_for(|now| *now >= stop).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_ends_with_a_stop() {
        let (sender, receiver) = watch::channel(Stop::No);
        let mut shutdown = ShutdownWatch::new(receiver);
        let long = Duration::from_secs(3600);

        shutdown.pause(Duration::from_millis(1)).await;
        sender.send_replace(Stop::Release);
        let limit = Duration::from_secs(60);
        let paused = tokio::time::timeout(limit, shutdown.pause(long)).await;

        assert_eq!(paused, Ok(()));
    }
}
