//! Retries of forwards that cannot start: after 1 s, 2 s, 4 s, and then every 5 s.

use std::time::Duration;

use tokio::task::JoinSet;

use super::StartError;
use super::aws_clients::AwsClients;
use crate::config;
use crate::tunnel::TriggerReceiver;

/// The next retry. Dropping this cancels it.
#[derive(Debug)]
pub(super) struct Retries {
    /// At most one task. It waits, then loads the AWS clients that failing forwards lack.
    task: JoinSet<Result<AwsClients, StartError>>,
    pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            task: JoinSet::new(),
            pause: FIRST_PAUSE,
        }
    }
}

impl Retries {
    /// Schedules a retry after the pause, which doubles each time, or when the trigger fires.
    pub(super) fn plan(
        &mut self,
        aws: AwsClients,
        failing: Vec<config::Forward>,
        mut triggered: TriggerReceiver,
    ) {
        let pause = self.pause;
        self.pause = (pause * 2).min(MAX_PAUSE);
        self.task.spawn(async move {
            triggered.triggered_within(pause).await;
            aws.retried(failing).await
        });
    }

    /// Waits until the forwards must be retried, and returns the loaded clients; never returns if
    /// no retry is scheduled. Cancel safe.
    pub(super) async fn loaded(&mut self) -> Result<AwsClients, StartError> {
        match self.task.join_next().await {
            Some(Ok(loaded)) => loaded,
            Some(Err(panic)) => Err(StartError::Unfinished {
                what: "a retry",
                why: format!("internal error ({panic}); please report it"),
            }),
            None => std::future::pending().await,
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(5);
