//! The end of the process, and how long the last sessions may take.

use std::time::Duration;

use tokio::sync::watch;

use super::terminate::TimeLeft;

/// Whether the process is about to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShutdownMode {
    /// No.
    #[default]
    No,
    /// Every session is to be ended first.
    InOrder,
    /// As far as that is possible in a moment.
    Hurried,
}

/// Ends when the goodbye has taken too long.
pub(super) async fn time_is_up(
    shutdown_mode: &mut watch::Receiver<ShutdownMode>,
    time_left: watch::Sender<TimeLeft>,
) {
    wait_for(shutdown_mode, ShutdownMode::InOrder).await;
    time_left.send_replace(TimeLeft::Soon);
    let in_order = tokio::time::sleep(MAX_GOODBYE);
    let hurried = async {
        wait_for(shutdown_mode, ShutdownMode::Hurried).await;
        tokio::time::sleep(MAX_HURRIED_GOODBYE).await;
    };
    tokio::select! {
        () = in_order => {}
        () = hurried => {}
    }
}

async fn wait_for(shutdown_mode: &mut watch::Receiver<ShutdownMode>, stage: ShutdownMode) {
    if shutdown_mode.wait_for(|now| *now >= stage).await.is_err() {
        // Nobody is left who could say it.
        std::future::pending::<()>().await;
    }
}

/// How long the last sessions may take to end.
const MAX_GOODBYE: Duration = Duration::from_secs(10);

/// The same for someone who does not want to wait.
const MAX_HURRIED_GOODBYE: Duration = Duration::from_secs(2);
