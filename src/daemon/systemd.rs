//! What the service manager is told, where one asked to be told (`NOTIFY_SOCKET`).
//!
//! ```text
//!   all bound ─▶ READY ─▶ STATUS, whenever it changes ─▶ STOPPING, and how long that may take
//!                  └────▶ WATCHDOG, while the accept loops answer
//! ```

use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::debug;

/// The service manager.
#[derive(Debug)]
pub(super) struct ServiceManager {
    /// What it was told last.
    status: String,
    /// It wants to hear that we are alive.
    watches: bool,
    ticks: Interval,
}

impl ServiceManager {
    pub(super) fn new() -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        let often = watchdog.map_or(REFRESH, |patience| REFRESH.min(patience / 4));
        let mut ticks = interval(often.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            status: String::new(),
            watches: watchdog.is_some(),
            ticks,
        }
    }

    /// Everything is bound.
    pub(super) fn ready(&mut self, status: String) {
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
    }

    /// The time to look whether the status has changed.
    pub(super) async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// Feeds the watchdog, if there is one and the accept loops are `alive`. That this is called shows
    /// that the rest is.
    pub(super) fn feed(&self, alive: bool) {
        if self.watches && alive {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// What `systemctl status` shows.
    pub(super) fn status(&mut self, status: String) {
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// The configuration is read again; [`ServiceManager::ready`] ends that.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "no clock to tell the service manager"),
    }
}

/// The end begins, and may take so long.
pub(super) fn stopping(most: Duration) {
    let most = u32::try_from(most.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(most),
        NotifyState::Status("waiting for open connections"),
    ]);
}

/// Queues a message for the service manager. Where it reads none, messages are dropped: nothing that
/// runs may wait for it.
fn tell(news: &[NotifyState<'_>]) {
    static QUEUE: OnceLock<SyncSender<String>> = OnceLock::new();
    let message: Vec<String> = news.iter().map(ToString::to_string).collect();
    let queue = QUEUE.get_or_init(start_sender);
    if queue.try_send(message.join("\n")).is_err() {
        debug!("the service manager does not read its messages; one is dropped");
    }
}

/// Starts the thread that sends: a send blocks while the socket of the service manager is full. It ends
/// with the process.
fn start_sender() -> SyncSender<String> {
    let (queue, messages) = sync_channel::<String>(MAX_QUEUED);
    let sender = thread::Builder::new().name("notify".to_owned());
    let started = sender.spawn(move || {
        for message in messages {
            if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
                debug!(%error, "the service manager cannot be told");
            }
        }
    });
    if let Err(error) = started {
        debug!(%error, "the service manager cannot be told: no thread");
    }
    queue
}

/// Messages that wait while the service manager is busy.
const MAX_QUEUED: usize = 16;

/// How old a status may be.
const REFRESH: Duration = Duration::from_secs(1);
