//! The configuration, read again with all files that it names, beside everything else: a disk may
//! not answer for long.
//!
//! Whoever asks for a reload while one is under way gets another one after it, for the file may have
//! changed since that was begun.

use std::fmt::Display;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::info;

use super::admin::{Answer, ErrorResponse, Fault, Reply};
use super::aws_clients::AwsClients;
use super::{Change, StartError, systemd};
use crate::config::Config;

/// A configuration, and what was loaded to reach AWS by it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) aws: AwsClients,
    /// Whether what all forwards have in common has changed.
    pub(super) afresh: bool,
}

impl Loaded {
    /// Loads what a configuration needs, as far as `aws` does not have it.
    pub(super) async fn new(config: Config, aws: AwsClients) -> Result<Self, StartError> {
        let (aws, afresh) = aws.renewed(config.aws.clone(), &config.forwards).await?;
        Ok(Self {
            config,
            aws,
            afresh,
        })
    }
}

/// Reloads that were asked for.
#[derive(Debug, Default)]
pub(super) struct ConfigReloader {
    /// At most one task. A read that never ends outlives it, as nothing can end that.
    reader: JoinSet<Result<Loaded, ErrorResponse>>,
    /// They wait for what comes of it.
    waiting: Vec<Reply>,
    /// They have asked since.
    next: Option<Vec<Reply>>,
}

impl ConfigReloader {
    /// Begins to read, now or when the one that is under way is done.
    pub(super) fn ask<E: Display>(
        &mut self,
        read: &(impl Fn() -> Result<Config, E> + Clone + Send + 'static),
        aws: &AwsClients,
        reply: Option<Reply>,
    ) {
        if !self.reader.is_empty() {
            info!("a reload is under way; another one follows");
            return self.next.get_or_insert_default().extend(reply);
        }
        systemd::reloading();
        self.waiting.extend(reply);
        let (read, aws) = (read.clone(), aws.clone());
        self.reader.spawn(async move {
            let config = in_time(move || read().map_err(|error| error.to_string())).await?;
            let loaded = Loaded::new(config, aws).await;
            loaded.map_err(|error| rejected(&error))
        });
    }

    /// Waits for a configuration; never ends if none is read. Cancelling loses none.
    pub(super) async fn done(&mut self) -> Result<Loaded, ErrorResponse> {
        match self.reader.join_next().await {
            Some(read) => read.unwrap_or_else(|fault| Err(unreadable(fault.to_string()))),
            None => std::future::pending().await,
        }
    }

    /// Tells those who wait what came of it, and begins what was asked for since.
    pub(super) fn tell<E: Display>(
        &mut self,
        outcome: &Result<Change, ErrorResponse>,
        read: &(impl Fn() -> Result<Config, E> + Clone + Send + 'static),
        aws: &AwsClients,
    ) {
        for reply in self.waiting.drain(..) {
            let answer = match outcome {
                Ok(change) => Answer::Reloaded(*change),
                Err(rejection) => Answer::Error(rejection.clone()),
            };
            // Whoever has gone needs no answer.
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
    match timeout(PATIENCE, spawn_blocking(read)).await {
        Ok(Ok(read)) => read.map_err(unreadable),
        Ok(Err(fault)) => Err(unreadable(fault.to_string())),
        Err(_) => Err(ErrorResponse {
            hint: "see whether its disk answers, and reload again".to_owned(),
            ..unreadable(format!(
                "the configuration could not be read within {PATIENCE:?}"
            ))
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

/// What is answered to a reload that failed.
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

/// How long a file may take to be read.
const PATIENCE: Duration = Duration::from_secs(10);
