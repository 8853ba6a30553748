//! The daemon's main event loop.
//!
//! Waits for one event at a time (a signal, an admin or HTTP request, a finished configuration
//! load, the service manager's timer, a retry, a resume from suspend, a lost task) and handles it.
//! The loop ends on SIGTERM, SIGINT or an admin `stop`, or when a part of the daemon is lost;
//! `shutdown.rs` takes over from there.

use std::convert::Infallible;
use std::fmt::Display;

use tracing::{error, info, warn};

use super::admin::{self, Answer, Call, ErrorResponse, Reply, Request};
use super::config_reload::ConfigReloader;
use super::http::called;
use super::shutdown::force_shutdown;
use super::signals::{Signal, Signals};
use super::suspend::SuspendDetector;
use super::systemd::ServiceManager;
use super::{Change, Daemon};
use crate::config::Config;
use crate::panics;

impl Daemon {
    /// Runs the event loop until a signal or a command requests a stop, or until a part of the
    /// daemon is lost that cannot be restarted. `reread` reads the configuration for a reload, and
    /// may block.
    pub async fn until_stopped<E: Display>(
        &mut self,
        signals: &mut Signals,
        reread: impl Fn() -> Result<Config, E> + Clone + Send + 'static,
    ) -> Cause {
        let mut reloader = ConfigReloader::default();
        let mut suspend_detector = SuspendDetector::new();
        let mut manager = ServiceManager::new();
        manager.ready(self.status());
        loop {
            tokio::select! {
                () = manager.tick() => {
                    let alive = self.history.handle_answer(self.forwards.answer());
                    manager.feed(alive);
                    manager.status(self.status());
                }
                signal = signals.next() => match signal {
                    Signal::Stop(name) => {
                        info!(signal = name, "stopping");
                        return Cause::Asked;
                    }
                    Signal::Nudge => {
                        info!("retrying now");
                        panics::point("daemon");
                        self.retry_now();
                    }
                    Signal::Reload => reloader.ask(&reread, &self.aws, None),
                    Signal::RollCall => {
                        let connections = self.forwards.snapshot().connections();
                        info!(connections, "listing open connections");
                        self.dump_connections.send();
                    }
                },
                call = called(&mut self.admin, &mut self.http) => {
                    let aws = self.aws.clone();
                    let reload = |reply| reloader.ask(&reread, &aws, Some(reply));
                    if self.is_told_to_stop(call, reload) {
                        info!("stopping: requested over the admin socket");
                        return Cause::Asked;
                    }
                }
                read = reloader.done(), if self.binder.is_idle() => match read {
                    Ok(loaded) => self.bind_reload(loaded),
                    Err(rejection) => {
                        let outcome = self.reloaded(Err(rejection));
                        manager.ready(self.status());
                        reloader.report(&outcome, &reread, &self.aws);
                    }
                },
                loaded = self.retries.loaded(), if self.binder.is_idle() => {
                    self.bind_failing(loaded);
                }
                () = self.servers.due(), if self.binder.is_idle() => self.bind_servers(),
                bound = self.binder.bound() => {
                    if let Some(outcome) = self.handle_bound(bound) {
                        let outcome = self.reloaded(outcome);
                        manager.ready(self.status());
                        reloader.report(&outcome, &reread, &self.aws);
                    }
                    manager.status(self.status());
                }
                () = suspend_detector.noticed() => {
                    info!("resumed from suspend; checking all sessions");
                    self.retry_now();
                }
                () = self.forwards.lost() => return Cause::Lost,
                Some(_) = self.dispatcher.join_next() => {
                    error!("the task that starts and terminates sessions has failed; the process must be restarted");
                    return Cause::Lost;
                }
            }
        }
    }

    /// Retries after a resume from suspend, while the caller handles signals. Never returns.
    pub async fn attend(&mut self) -> Infallible {
        let mut suspend_detector = SuspendDetector::new();
        loop {
            tokio::select! {
                () = suspend_detector.noticed() => self.retry_now(),
                // The clients notice: nothing accepts their connections.
                () = self.forwards.lost() => {}
            }
        }
    }

    /// Handles one request. Returns true for `stop`, whose client is answered when the stop is
    /// done.
    fn is_told_to_stop(
        &mut self,
        Call { request, reply }: Call,
        reload: impl FnOnce(Reply),
    ) -> bool {
        let answer = match request {
            Request::Status => {
                let filter = admin::filter(self.log.as_ref());
                let snapshot = self.forwards.snapshot();
                Answer::Status(Box::new(self.history.report(&snapshot, filter, false)))
            }
            Request::Reload => {
                reload(reply);
                return false;
            }
            Request::Log { level } => admin::set_log(self.log.as_ref(), level),
            Request::Stop { now } => {
                self.waiting.push(reply);
                if now {
                    force_shutdown(&self.leaving);
                }
                return true;
            }
        };
        // Receiver dropped: ignore.
        let _gone = reply.send(answer);
        false
    }

    /// Counts and logs a reload. On error nothing has changed.
    fn reloaded(
        &mut self,
        outcome: Result<Change, ErrorResponse>,
    ) -> Result<Change, ErrorResponse> {
        match &outcome {
            Ok(change) => {
                self.history.reloads += 1;
                info!("reloaded: {change}");
            }
            Err(ErrorResponse { message, hint, .. }) => {
                self.history.failed_reloads += 1;
                match hint.as_str() {
                    "" => {
                        warn!("reload failed; keeping the current configuration");
                        let lines = message.lines().filter(|line| !line.trim().is_empty());
                        lines.for_each(|line| warn!("{line}"));
                    }
                    hint => {
                        warn!(error = %message, hint, "reload failed; keeping the current configuration");
                    }
                }
            }
        }
        outcome
    }

    fn status(&self) -> String {
        let mut line = self.forwards.snapshot().line();
        for failing in &self.history.failing_servers {
            line += &format!(", [{}] failing", failing.server);
        }
        line
    }
}

/// The reason why a daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Requested by a signal or a command.
    Asked,
    /// A task was lost by a panic. The process should be restarted.
    Lost,
}
