//! Loads the configuration and all files that it names for a reload, in a task of its own: a disk may
//! not respond for a long time. `binder.rs` applies it.
//!
//! A reload requested while one is in progress starts after it, because the file may have changed
//! since the first one began.

use std::fmt::Display;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::info;

use super::admin::{Answer, ErrorResponse, Fault, Reply};
use super::aws_clients::AwsClients;
use super::{Change, StartError, systemd};
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
        let (aws, aws_changed) = aws.renewed(config.aws.clone(), &config.forwards).await?;
        Ok(Self {
            config,
            aws,
            aws_changed,
        })
    }
}

/// Reload in progress, and requests for the next one.
#[derive(Debug, Default)]
pub(super) struct ConfigReloader {
    /// At most one task. A read that never returns outlives it, because it cannot be cancelled.
    reader: JoinSet<Result<Loaded, ErrorResponse>>,
    /// From the request until [`ConfigReloader::report`].
    is_in_progress: bool,
    /// Clients that wait for the reload in progress.
    waiting: Vec<Reply>,
    /// Clients that wait for the next reload.
    next: Option<Vec<Reply>>,
}

impl ConfigReloader {
    /// Starts a reload, now or after the one in progress.
    pub(super) fn ask<E: Display>(
        &mut self,
        read: &(impl Fn() -> Result<Config, E> + Clone + Send + 'static),
        aws: &AwsClients,
        reply: Option<Reply>,
    ) {
        if self.is_in_progress {
            info!("reload in progress; another one is queued");
            return self.next.get_or_insert_default().extend(reply);
        }
        systemd::reloading();
        self.is_in_progress = true;
        self.waiting.extend(reply);
        let (read, aws) = (read.clone(), aws.clone());
        self.reader.spawn(async move {
            let config = in_time(move || read().map_err(|error| error.to_string())).await?;
            let loaded = Loaded::new(config, aws).await;
            loaded.map_err(|error| rejected(&error))
        });
    }

    /// Waits for a loaded configuration; never returns if none is being loaded. Cancel safe.
    pub(super) async fn done(&mut self) -> Result<Loaded, ErrorResponse> {
        match self.reader.join_next().await {
            Some(read) => read.unwrap_or_else(|fault| Err(unreadable(fault.to_string()))),
            None => std::future::pending().await,
        }
    }

    /// Answers the waiting clients, and starts the next reload if one was requested.
    pub(super) fn report<E: Display>(
        &mut self,
        outcome: &Result<Change, ErrorResponse>,
        read: &(impl Fn() -> Result<Config, E> + Clone + Send + 'static),
        aws: &AwsClients,
    ) {
        self.is_in_progress = false;
        for reply in self.waiting.drain(..) {
            let answer = match outcome {
                Ok(change) => Answer::Reloaded(*change),
                Err(rejection) => Answer::Error(rejection.clone()),
            };
            // Receiver dropped: ignore.
            let _gone = reply.send(answer);
        }
        if let Some(replies) = self.next.take() {
            self.waiting = replies;
            self.ask(read, aws, None);
        }
    }
}

async fn in_time(
    read: impl FnOnce() -> Result<Config, String> + Send + 'static,
) -> Result<Config, ErrorResponse> {
    match timeout(TIMEOUT, spawn_blocking(read)).await {
        Ok(Ok(read)) => read.map_err(unreadable),
        Ok(Err(fault)) => Err(unreadable(fault.to_string())),
        Err(_) => Err(ErrorResponse {
            hint: "check the disk or network file system that holds it, then reload again"
                .to_owned(),
            ..unreadable(format!("the configuration was not read within {TIMEOUT:?}"))
        }),
    }
}

fn unreadable(message: String) -> ErrorResponse {
    ErrorResponse {
        kind: Fault::Configuration,
        message,
        hint: String::new(),
    }
}

/// Converts the error of a failed reload to an answer.
pub(super) fn rejected(error: &StartError) -> ErrorResponse {
    let kind = match error {
        StartError::Listen { .. } | StartError::Http(_) => Fault::Listen,
        StartError::Unfinished { .. }
        | StartError::Roots(_)
        | StartError::Aws(_)
        | StartError::Forward { .. }
        | StartError::Proxy(_)
        | StartError::Standard(_)
        | StartError::Admin(_)
        | StartError::AdminMoved
        | StartError::Log(_) => Fault::Configuration,
    };
    ErrorResponse {
        kind,
        message: error.to_string(),
        hint: error.hint().into_owned(),
    }
}

/// Timeout for reading the configuration.
const TIMEOUT: Duration = Duration::from_secs(10);
