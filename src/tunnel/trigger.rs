//! Makes all tunnels retry now and test their websockets.
//!
//! Sent by the user with a signal, and by the daemon after resume from suspend.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// The sending side. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trigger(watch::Sender<()>);

impl Trigger {
    /// Creates a trigger and its receiver, which is cheap to clone.
    pub fn new() -> (Self, TriggerReceiver) {
        let (sender, receiver) = watch::channel(());
        (Self(sender), TriggerReceiver(receiver))
    }

    /// Triggers every receiver.
    pub fn send(&self) {
        self.0.send_replace(());
    }
}

/// The receiving side.
#[derive(Clone, Debug)]
pub struct TriggerReceiver(watch::Receiver<()>);

impl TriggerReceiver {
    /// Returns a receiver of later triggers only.
    pub fn resubscribe(mut self) -> Self {
        self.0.mark_unchanged();
        self
    }

    /// Waits for the next trigger; never returns if the sender was dropped. Cancel safe.
    pub async fn triggered(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the next trigger, for `pause` at most. Cancel safe.
    pub async fn triggered_within(&mut self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.triggered() => {}
        }
    }
}
