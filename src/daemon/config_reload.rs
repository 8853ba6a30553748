//! Loads the configuration and all files that it names for a reload, in a task of its own: a disk
//! may not respond for a long time. `binder.rs` applies it.
//!
//! A reload requested while one is in progress starts after it, because the file may have changed
//! since the first one began.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::info;

use super::admin::{Response, ResponseSender};
use super::aws_clients::AwsClients;
use super::control_plane::answer;
use super::{ReloadError, ReloadSummary, StartError, systemd};
use crate::blocking;
use crate::config::Config;

/// A configuration and the AWS clients that were loaded for it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) aws: AwsClients,
    /// The settings or certificates common to all forwards have changed.
    pub(super) aws_changed: bool,
}

impl Loaded {
    /// Loads the AWS clients of a configuration; reuses those of `aws` where possible.
    pub(super) async fn new(config: Config, aws: AwsClients) -> Result<Self, StartError> {
        let (aws, aws_changed) = aws.updated(config.aws.clone(), &config.forwards).await?;
        Ok(Self {
            config,
            aws,
            aws_changed,
        })
    }
}

/// Reads the configuration; may block.
type Read = Arc<dyn Fn() -> Result<Config, ReloadError> + Send + Sync>;

/// Reload in progress, and requests for the next one.
pub(super) struct ConfigReloader {
    read: Read,
    /// At most one task. A read that never returns outlives it, because it cannot be cancelled.
    reader: JoinSet<Result<Loaded, ReloadError>>,
    /// From the request until [`ConfigReloader::report`].
    is_in_progress: bool,
    /// Clients that wait for the reload in progress.
    waiting: Vec<ResponseSender>,
    /// Clients that wait for the next reload.
    next: Option<Vec<ResponseSender>>,
}

impl ConfigReloader {
    pub(super) fn new(read: Read) -> Self {
        Self {
            read,
            reader: JoinSet::new(),
            is_in_progress: false,
            waiting: Vec::new(),
            next: None,
        }
    }

    /// Starts a reload, now or after the one in progress.
    pub(super) fn request(&mut self, aws: &AwsClients, reply: Option<ResponseSender>) {
        if self.is_in_progress {
            info!("reload in progress; another one is queued");
            return self.next.get_or_insert_default().extend(reply);
        }
        systemd::reloading();
        self.is_in_progress = true;
        self.waiting.extend(reply);
        let (read, aws) = (Arc::clone(&self.read), aws.clone());
        self.reader.spawn(async move {
            let config = read_with_timeout(read).await?;
            Ok(Loaded::new(config, aws).await?)
        });
    }

    /// Waits for a loaded configuration; never returns if none is being loaded. Cancel safe.
    pub(super) async fn next_loaded(&mut self) -> Result<Loaded, ReloadError> {
        match self.reader.join_next().await {
            Some(read) => read.unwrap_or_else(|panic| Err(panicked(panic))),
            None => std::future::pending().await,
        }
    }

    /// Answers the waiting clients, and starts the next reload if one was requested.
    pub(super) fn report(
        &mut self,
        outcome: &Result<ReloadSummary, ReloadError>,
        aws: &AwsClients,
    ) {
        self.is_in_progress = false;
        for reply in self.waiting.drain(..) {
            let result = match outcome {
                Ok(change) => Response::Reloaded(*change),
                Err(error) => Response::Error(error.response()),
            };
            answer(reply, result);
        }
        if let Some(replies) = self.next.take() {
            self.waiting = replies;
            self.request(aws, None);
        }
    }
}

async fn read_with_timeout(read: Read) -> Result<Config, ReloadError> {
    match timeout(TIMEOUT, blocking::spawn(move || read())).await {
        Ok(read) => read.unwrap_or_else(|panic| Err(panicked(panic))),
        Err(_) => Err(ReloadError::unusable(
            format!("the configuration was not read within {TIMEOUT:?}"),
            "check the disk or network file system that holds it, then reload again",
        )),
    }
}

fn panicked(panic: JoinError) -> ReloadError {
    ReloadError::unusable(
        format!("cannot read the configuration: internal error ({panic})"),
        "report this error",
    )
}

/// Timeout for reading the configuration.
const TIMEOUT: Duration = Duration::from_secs(10);
