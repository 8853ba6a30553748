//! Shutdown: stop accepting, let connections finish, then terminate every session.
//!
//! Meanwhile, admin and HTTP requests are answered, clients that requested the stop are answered
//! when it is done, and signals are still handled where possible.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::admin::{ErrorKind, error_response};
use super::binder::Binder;
use super::connection_limit::ConnectionLimit;
use super::control_plane::{ControlPlane, Demand, answer, force_shutdown};
use super::forwards::Forwards;
use super::signals::Signals;
use super::status::ForwardSnapshot;
use super::{Daemon, systemd};
use crate::clock;
use crate::forward::{Context, ShutdownPhase};
use crate::session::ShutdownMode;

impl Daemon {
    /// Stops in order. A second stop signal skips all waiting and only terminates sessions; a third
    /// one returns immediately.
    pub async fn stop_with_signals(self, signals: &mut Signals) {
        let snapshot = self.forwards.snapshot();
        systemd::stopping(self.connection_limit.shutdown_timeouts().max());
        let (mut control, stopping) = self.into_stopping();
        let sessions_left = tokio::select! {
            left = stopping.run() => left,
            () = handle_events(&mut control, signals, &snapshot) => {
                warn!(hint = LOOK_FOR_SESSIONS, "stopped immediately; some sessions may still be active");
                None
            }
        };
        control.close(sessions_left).await;
    }

    /// Stops accepting, lets connections finish within the drain timeout, resets the rest, then
    /// terminates every session. Returns the number of sessions that may still be active, if known.
    pub async fn stop(self) -> Option<usize> {
        let (_control, stopping) = self.into_stopping();
        stopping.run().await
    }

    fn into_stopping(self) -> (ControlPlane, Stopping) {
        let stopping = Stopping {
            shutdown_mode: self.control.shutdown_mode.clone(),
            forwards: self.forwards,
            binder: self.binder,
            context: self.context,
            connection_limit: self.connection_limit,
            dispatcher: self.dispatcher,
            background: self.background,
        };
        (self.control, stopping)
    }
}

/// Handles signals and requests while the daemon stops. The second stop signal forces the shutdown;
/// returns at the third.
async fn handle_events(
    control: &mut ControlPlane,
    signals: &mut Signals,
    forwards: &ForwardSnapshot,
) {
    let mut is_repeated = false;
    loop {
        let event = control.next(signals).await;
        match control.handle(event, forwards, true) {
            Some(Demand::StopBySignal(_)) if is_repeated => return,
            Some(Demand::StopBySignal(_)) => {
                is_repeated = true;
                warn!("second stop request");
                force_shutdown(&control.shutdown_mode);
            }
            Some(Demand::Reload(None)) => warn!("reload rejected: the daemon is stopping"),
            Some(Demand::Reload(Some(reply))) => {
                let stopping = "the daemon is stopping";
                answer(
                    reply,
                    error_response(
                        ErrorKind::Busy,
                        stopping,
                        "retry after it has been started again",
                    ),
                );
            }
            Some(Demand::StopByRequest) | None => {}
        }
    }
}

/// The parts of a daemon that are stopped one after the other.
struct Stopping {
    forwards: Forwards,
    binder: Binder,
    context: Context,
    connection_limit: ConnectionLimit,
    shutdown_mode: watch::Sender<ShutdownMode>,
    dispatcher: JoinSet<usize>,
    background: JoinSet<()>,
}

impl Stopping {
    async fn run(self) -> Option<usize> {
        let Self {
            mut forwards,
            binder,
            context,
            connection_limit,
            shutdown_mode,
            mut dispatcher,
            mut background,
        } = self;
        background.shutdown().await;
        binder.cancel().await;
        let snapshot = forwards.snapshot();
        forwards.stop(ShutdownPhase::Draining);
        let limits = connection_limit.shutdown_timeouts();
        let begin = clock::now();
        limits.announce(snapshot.connections());
        let mut forced = shutdown_mode.subscribe();
        if limits.idle.is_some() {
            tokio::select! {
                () = limits.wait_for_idle(forwards.ended()) => {}
                _ = forced.wait_for(|shutdown_mode| *shutdown_mode == ShutdownMode::Forced) => {}
            }
            forwards.stop(ShutdownPhase::ClosingIdle);
        }
        let is_forced = tokio::select! {
            () = limits.wait(forwards.ended()) => false,
            _ = forced.wait_for(|shutdown_mode| *shutdown_mode == ShutdownMode::Forced) => true,
        };
        let reset_before = snapshot.reset_by_stop();
        forwards.stop(ShutdownPhase::Aborting);
        tokio::select! {
            ended = timeout(limits.forwards, forwards.ended()) => if ended.is_err() {
                // Each upload of a client that has closed is recorded, and sessions whose agents do
                // not answer are terminated below.
                match snapshot.with_client() {
                    0 => debug!("some uploads or sessions did not end in time"),
                    connections => warn!(connections, "some connections did not close in time"),
                }
            },
            _ = forced.wait_for(|shutdown_mode| *shutdown_mode == ShutdownMode::Forced) => {}
        }
        // Aborted tasks leave the termination of their session to the dispatcher.
        forwards.tasks.shutdown().await;
        // Known only now: a client may have closed just before, which its task had not yet noticed.
        match snapshot.reset_by_stop() - reset_before {
            connections @ 1.. if !is_forced => {
                warn!(connections, "reset connections that were still open");
            }
            _ => {}
        }
        drop(context);
        shutdown_mode.send_if_modified(|shutdown_mode| {
            let is_first = *shutdown_mode == ShutdownMode::Running;
            *shutdown_mode = (*shutdown_mode).max(ShutdownMode::Graceful);
            is_first
        });
        // The connections may have needed less than their time.
        let rest = limits.max().saturating_sub(clock::since(begin));
        let left = match timeout(limits.terminations.max(rest), dispatcher.join_next()).await {
            Ok(left) => left,
            Err(_) => {
                force_shutdown(&shutdown_mode);
                dispatcher.join_next().await
            }
        };
        let left = left.and_then(Result::ok);
        match left {
            Some(0) => info!("stopped; all sessions are terminated"),
            count => warn!(
                count,
                hint = LOOK_FOR_SESSIONS,
                "stopped; some sessions may still be active"
            ),
        }
        left
    }
}

/// Hint for finding sessions that may still be active.
pub(super) const LOOK_FOR_SESSIONS: &str = "`aws ssm describe-sessions --state Active` lists them; the account's idle session timeout also terminates them";
