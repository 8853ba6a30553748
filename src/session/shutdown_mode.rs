//! Shutdown modes, and the time limits for terminating sessions.

use std::time::Duration;

use tokio::sync::watch;

use super::terminate::TimeLeft;

/// Whether and how the process shuts down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShutdownMode {
    /// Running.
    #[default]
    Running,
    /// Graceful: terminate every session first.
    Graceful,
    /// Forced: terminate as many sessions as possible in a short time.
    Forced,
}

/// Completes when the time limit of the shutdown is over. Sets `time_left` to [`TimeLeft::Seconds`]
/// when the shutdown begins.
pub(super) async fn time_is_up(
    shutdown_mode: &mut watch::Receiver<ShutdownMode>,
    time_left: watch::Sender<TimeLeft>,
) {
    wait_for(shutdown_mode, ShutdownMode::Graceful).await;
    time_left.send_replace(TimeLeft::Seconds);
    let graceful = tokio::time::sleep(GRACEFUL_LIMIT);
    let forced = async {
        wait_for(shutdown_mode, ShutdownMode::Forced).await;
        tokio::time::sleep(FORCED_LIMIT).await;
    };
    tokio::select! {
        () = graceful => {}
        () = forced => {}
    }
}

async fn wait_for(shutdown_mode: &mut watch::Receiver<ShutdownMode>, mode: ShutdownMode) {
    if shutdown_mode.wait_for(|now| *now >= mode).await.is_err() {
        // The sender is gone: the mode cannot change any more.
        std::future::pending::<()>().await;
    }
}

/// Time limit of a graceful shutdown.
const GRACEFUL_LIMIT: Duration = Duration::from_secs(10);

/// Time limit of a forced shutdown, from when it was requested.
const FORCED_LIMIT: Duration = Duration::from_secs(2);
