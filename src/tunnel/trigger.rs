//! A nudge to all tunnels: try again now, and see whether your websocket lives.
//!
//! A person sends it by a signal, and the daemon itself after the machine has slept.

use tokio::sync::watch;

/// The side that nudges. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trigger(watch::Sender<()>);

impl Trigger {
    /// A nudge, and what tunnels listen to. That is cheap to clone.
    pub fn new() -> (Self, TriggerReceiver) {
        let (sender, receiver) = watch::channel(());
        (Self(sender), TriggerReceiver(receiver))
    }

    /// Nudges every listener.
    pub fn send(&self) {
        self.0.send_replace(());
    }
}

/// The side that is nudged.
#[derive(Clone, Debug)]
pub struct TriggerReceiver(watch::Receiver<()>);

impl TriggerReceiver {
    /// A listener to nudges from now on.
    pub fn afresh(mut self) -> Self {
        self.0.mark_unchanged();
        self
    }

    /// Waits for the next nudge; never ends if there will be none. Cancelling loses none.
    pub async fn nudged(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
