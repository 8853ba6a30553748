//! The daemon's main event loop.
//!
//! Waits for one event at a time (a signal, an admin or HTTP request, a finished configuration
//! load, the service manager's timer, a retry, a resume from suspend, a lost task) and handles it.
//! The loop ends on SIGTERM, SIGINT or an admin `stop`, or when a part of the daemon is lost;
//! `shutdown.rs` takes over from there.

use std::convert::Infallible;
use std::sync::Arc;

use tracing::{error, info};

use super::config_reload::ConfigReloader;
use super::control_plane::Demand;
use super::signals::Signals;
use super::suspend::SuspendDetector;
use super::systemd::SdNotify;
use super::{Daemon, ReloadError, ReloadSummary};
use crate::config::Config;

impl Daemon {
    /// Runs the event loop until a signal or a command requests a stop, or until a part of the
    /// daemon is lost that cannot be restarted. `reread` reads the configuration for a reload, and
    /// may block.
    pub async fn run(
        &mut self,
        signals: &mut Signals,
        reread: impl Fn() -> Result<Config, ReloadError> + Send + Sync + 'static,
    ) -> Cause {
        let mut reloader = ConfigReloader::new(Arc::new(reread));
        let mut suspend_detector = SuspendDetector::new();
        let mut sd_notify = SdNotify::new();
        sd_notify.ready(self.status());
        loop {
            tokio::select! {
                () = sd_notify.tick() => {
                    let alive = self.control.stats.record_liveness(self.forwards.are_responsive());
                    self.forwards.observe();
                    sd_notify.watchdog(alive);
                    sd_notify.status(self.status());
                }
                event = self.control.next(signals) => {
                    let forwards = self.forwards.snapshot();
                    match self.control.handle(event, &forwards, false) {
                        Some(Demand::StopBySignal(signal)) => {
                            info!(signal, "stopping");
                            return Cause::Requested;
                        }
                        Some(Demand::StopByRequest) => {
                            info!("stopping: requested over the admin socket");
                            return Cause::Requested;
                        }
                        Some(Demand::Reload(reply)) => reloader.request(&self.control.aws, reply),
                        None => {}
                    }
                }
                read = reloader.next_loaded(), if self.binder.is_idle() => match read {
                    Ok(loaded) => self.bind_reload(loaded),
                    Err(error) => self.finish_reload(Err(error), &mut reloader, &mut sd_notify),
                },
                loaded = self.retries.loaded(), if self.binder.is_idle() => {
                    self.bind_failing(loaded);
                }
                () = self.servers.due(), if self.binder.is_idle() => self.bind_servers(),
                bound = self.binder.bound() => {
                    match self.handle_bound(bound) {
                        Some(outcome) => self.finish_reload(outcome, &mut reloader, &mut sd_notify),
                        None => sd_notify.status(self.status()),
                    }
                }
                () = suspend_detector.resumed() => {
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
    pub async fn retry_after_suspend(&mut self) -> Infallible {
        let mut suspend_detector = SuspendDetector::new();
        loop {
            tokio::select! {
                () = suspend_detector.resumed() => self.retry_now(),
                // The clients notice: nothing accepts their connections.
                () = self.forwards.lost() => {}
            }
        }
    }

    /// Counts, logs and reports a reload. On error nothing has changed.
    fn finish_reload(
        &mut self,
        outcome: Result<ReloadSummary, ReloadError>,
        reloader: &mut ConfigReloader,
        sd_notify: &mut SdNotify,
    ) {
        match &outcome {
            Ok(change) => {
                self.control.stats.record_reload(true);
                info!("reloaded: {change}");
            }
            Err(error) => {
                self.control.stats.record_reload(false);
                error.log();
            }
        }
        sd_notify.ready(self.status());
        reloader.report(&outcome, &self.control.aws);
    }

    fn status(&self) -> String {
        let mut line = self.forwards.snapshot().line();
        for failing in &self.control.stats.failing_servers {
            line += &format!(", [{}] failing", failing.server);
        }
        line
    }
}

/// The reason why a daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Requested by a signal or a command.
    Requested,
    /// A task was lost by a panic. The process should be restarted.
    Lost,
}
