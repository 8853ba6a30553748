//! Liveness of a forward's accept loops: each loop must respond to a probe from inside the loop.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;

/// Probes the accept loops of one forward.
#[derive(Clone, Debug)]
pub struct Liveness {
    loops: usize,
    probe: watch::Sender<()>,
    /// Loops that have not responded to the last probe.
    missing: Arc<AtomicUsize>,
}

impl Liveness {
    /// Creates the probe and a responder per loop. A probe may be sent before the loops run.
    pub(super) fn new(loops: usize) -> (Self, Vec<PingResponder>) {
        let liveness = Self {
            loops,
            probe: watch::Sender::new(()),
            missing: Arc::new(AtomicUsize::new(0)),
        };
        let responder = || PingResponder {
            probe: liveness.probe.subscribe(),
            missing: Arc::clone(&liveness.missing),
        };
        let responders = (0..loops).map(|_| responder()).collect();
        (liveness, responders)
    }

    /// Probes every loop. Returns false while one has not responded to the last probe; no new probe
    /// is sent then.
    pub fn check(&self) -> bool {
        let all = self.missing.load(Relaxed) == 0;
        if all {
            self.missing.store(self.loops, Relaxed);
            self.probe.send_replace(());
        }
        all
    }
}

/// Responder of one loop.
#[derive(Debug)]
pub(super) struct PingResponder {
    probe: watch::Receiver<()>,
    missing: Arc<AtomicUsize>,
}

impl PingResponder {
    /// Waits for a probe and responds to it.
    pub(super) async fn respond(&mut self) {
        if self.probe.changed().await.is_err() {
            // Sender dropped: no more probes.
            return std::future::pending().await;
        }
        self.missing.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_loops_must_respond_before_the_next_probe() {
        let (liveness, mut responders) = Liveness::new(2);
        let (mut one, mut two) = (responders.pop().unwrap(), responders.pop().unwrap());

        // Before any of them runs.
        assert!(liveness.check());
        assert!(!liveness.check(), "no loop has responded");
        one.respond().await;
        assert!(!liveness.check(), "one has not");
        two.respond().await;
        assert!(liveness.check());
    }
}
