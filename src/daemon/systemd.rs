//! Notifications to the service manager (`sd_notify`), if `NOTIFY_SOCKET` is set.
//!
//! ```text
//!   all bound ─▶ READY ─▶ STATUS, on every change ─▶ STOPPING, with the maximum duration
//!                  └────▶ WATCHDOG, while the accept loops answer
//! ```

use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::debug;

/// Connection to the service manager.
#[derive(Debug)]
pub struct SdNotify {
    /// The status that was sent last.
    status: String,
    /// The service manager expects watchdog notifications.
    watchdog_enabled: bool,
    ticks: Interval,
}

impl SdNotify {
    /// Reads from the environment whether there is a service manager.
    pub fn new() -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        let often = watchdog.map_or(REFRESH, |timeout| REFRESH.min(timeout / 4));
        let mut ticks = interval(often.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            status: String::new(),
            watchdog_enabled: watchdog.is_some(),
            ticks,
        }
    }

    /// Reports that startup or a reload is complete.
    pub fn ready(&mut self, status: String) {
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
    }

    /// Waits for the next time to send the watchdog notification and a changed status.
    pub async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// Sends a watchdog notification, if one is expected and the accept loops are `alive`. The call
    /// itself shows that the event loop runs.
    pub fn watchdog(&self, alive: bool) {
        if self.watchdog_enabled && alive {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// Reports that the program is stopping, which takes at most `max`.
    pub fn stopping(max: Duration) {
        stopping(max);
    }

    /// Sends the text shown by `systemctl status`, if it has changed.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// Reports that a reload has started; [`SdNotify::ready`] completes it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "cannot notify the service manager: no monotonic clock"),
    }
}

/// Reports that the daemon is stopping, which takes at most `max`.
pub(super) fn stopping(max: Duration) {
    let max = u32::try_from(max.as_micros()).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(max),
        NotifyState::Status("waiting for open connections"),
    ]);
}

/// Queues a message for the service manager. Drops it if the queue is full: no caller may block on
/// the service manager.
fn notify(states: &[NotifyState<'_>]) {
    static QUEUE: OnceLock<SyncSender<String>> = OnceLock::new();
    let message: Vec<String> = states.iter().map(ToString::to_string).collect();
    let queue = QUEUE.get_or_init(start_sender);
    if queue.try_send(message.join("\n")).is_err() {
        debug!("the service manager does not read its notifications; dropping one");
    }
}

/// Starts the sending thread, because a send blocks while the service manager's socket is full. The
/// thread ends with the process.
fn start_sender() -> SyncSender<String> {
    let (queue, messages) = sync_channel::<String>(MAX_QUEUED);
    let sender = thread::Builder::new().name("notify".to_owned());
    let started = sender.spawn(move || {
        for message in messages {
            if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
                debug!(%error, "cannot notify the service manager");
            }
        }
    });
    if let Err(error) = started {
        debug!(%error, "cannot notify the service manager: cannot start the thread");
    }
    queue
}

/// Maximum number of queued messages.
const MAX_QUEUED: usize = 16;

/// Maximum age of a status.
const REFRESH: Duration = Duration::from_secs(1);
