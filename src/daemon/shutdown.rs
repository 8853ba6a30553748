//! Shutdown: stop accepting, let connections finish, then terminate every session.
//!
//! Meanwhile, admin and HTTP requests are answered, clients that requested the stop are answered
//! when it is done, and signals keep their meaning as far as a stopping daemon can follow them.

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::admin::{self, Admin, Answer, Call, Fault, Reply, Request, rejection};
use super::aws_clients::AwsClients;
use super::http::{Http, called};
use super::signals::{Signal, Signals};
use super::status::{DaemonStats, ForwardSnapshot};
use super::{Daemon, systemd};
use crate::clock;
use crate::forward::Stop;
use crate::session::{RetryTrigger, ShutdownMode};
use crate::telemetry::Control;
use crate::tunnel::Trigger;

impl Daemon {
    /// Stops in order. A second stop signal skips all waiting and only terminates sessions; a third
    /// one returns immediately.
    pub async fn stop_unless_hurried(mut self, signals: &mut Signals) {
        let mut desk = ShutdownControl {
            admin: self.admin.take(),
            http: std::mem::take(&mut self.http),
            waiting: std::mem::take(&mut self.waiting),
            leaving: self.leaving.clone(),
            aws: self.aws.clone(),
            retry_trigger: self.context.sessions.retry_trigger(),
            trigger: self.trigger.clone(),
            dump_connections: self.dump_connections.clone(),
            snapshot: self.forwards.snapshot(),
            history: self.history.clone(),
            log: self.log.clone(),
        };
        systemd::stopping(self.drain.limits().most());
        let sessions_left = tokio::select! {
            left = self.stop() => left,
            () = desk.attend(signals) => {
                warn!(hint = LOOK_FOR_SESSIONS, "stopped at once; some sessions may still be active");
                None
            }
        };
        desk.close(sessions_left).await;
    }

    /// Stops accepting, lets connections finish within the drain timeout, resets the rest, then
    /// terminates every session. Returns the number of sessions that may still be active, if known.
    pub async fn stop(self) -> Option<usize> {
        let Self {
            mut forwards,
            binder,
            context,
            drain,
            leaving,
            mut dispatcher,
            mut aside,
            ..
        } = self;
        aside.shutdown().await;
        binder.cancel().await;
        let snapshot = forwards.snapshot();
        forwards.stop(Stop::Drain);
        let limits = drain.limits();
        let begin = clock::now();
        limits.announce(snapshot.connections());
        let mut hurried = leaving.subscribe();
        if limits.idle.is_some() {
            tokio::select! {
                () = limits.wait_for_idle(forwards.ended()) => {}
                _ = hurried.wait_for(|leaving| *leaving == ShutdownMode::Hurried) => {}
            }
            forwards.stop(Stop::Idle);
        }
        tokio::select! {
            () = limits.wait(|| snapshot.connections(), forwards.ended()) => {}
            _ = hurried.wait_for(|leaving| *leaving == ShutdownMode::Hurried) => {}
        }
        forwards.stop(Stop::Now);
        tokio::select! {
            ended = timeout(limits.forwards, forwards.ended()) => if ended.is_err() {
                warn!("some connections did not close in time");
            },
            _ = hurried.wait_for(|leaving| *leaving == ShutdownMode::Hurried) => {}
        }
        // Aborted tasks leave the termination of their session to the dispatcher.
        forwards.tasks.shutdown().await;
        drop(context);
        leaving.send_if_modified(|leaving| {
            let is_first = *leaving == ShutdownMode::No;
            *leaving = (*leaving).max(ShutdownMode::InOrder);
            is_first
        });
        // The connections may have needed less than their time.
        let rest = limits.most().saturating_sub(clock::since(begin));
        let left = match timeout(limits.endings.max(rest), dispatcher.join_next()).await {
            Ok(left) => left,
            Err(_) => {
                force_shutdown(&leaving);
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

/// Answers requests and signals while the daemon stops.
struct ShutdownControl {
    admin: Option<Admin>,
    http: Http,
    /// Clients that requested the stop.
    waiting: Vec<Reply>,
    leaving: watch::Sender<ShutdownMode>,
    aws: AwsClients,
    retry_trigger: RetryTrigger,
    trigger: Trigger,
    dump_connections: Trigger,
    snapshot: ForwardSnapshot,
    history: DaemonStats,
    log: Option<Control>,
}

impl ShutdownControl {
    /// Handles requests and signals. The second stop signal forces the shutdown; returns at the
    /// third.
    async fn attend(&mut self, signals: &mut Signals) {
        let mut is_asked_again = false;
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop(_) if is_asked_again => return,
                    Signal::Stop(_) => {
                        is_asked_again = true;
                        warn!("second stop request");
                        force_shutdown(&self.leaving);
                    }
                    Signal::Nudge => {
                        info!("retrying now");
                        self.aws.retry_now();
                        self.retry_trigger.retry_now();
                        self.trigger.send();
                    }
                    Signal::Reload => warn!("reload rejected: the daemon is stopping"),
                    Signal::RollCall => {
                        let connections = self.snapshot.connections();
                        info!(connections, "listing open connections");
                        self.dump_connections.send();
                    }
                },
                call = called(&mut self.admin, &mut self.http) => self.answer(call),
            }
        }
    }

    fn answer(&mut self, Call { request, reply }: Call) {
        let answer = match request {
            Request::Stop { now } => {
                if now {
                    force_shutdown(&self.leaving);
                }
                return self.waiting.push(reply);
            }
            Request::Status => {
                let report =
                    self.history
                        .report(&self.snapshot, admin::filter(self.log.as_ref()), true);
                Answer::Status(Box::new(report))
            }
            Request::Log { level } => admin::set_log(self.log.as_ref(), level),
            Request::Reload => rejection(Fault::Busy, "the daemon is stopping", "start it again"),
        };
        // Receiver dropped: ignore.
        let _gone = reply.send(answer);
    }

    async fn close(self, sessions_left: Option<usize>) {
        for reply in self.waiting {
            let _gone = reply.send(Answer::Stopped { sessions_left });
        }
        if let Some(admin) = self.admin {
            admin.close().await;
        }
        self.http.close().await;
    }
}

/// Forces the shutdown: the remaining sessions are terminated now.
pub(super) fn force_shutdown(leaving: &watch::Sender<ShutdownMode>) {
    warn!("forced shutdown: terminating all sessions now");
    leaving.send_replace(ShutdownMode::Hurried);
}

/// Hint for finding sessions that may still be active.
pub(super) const LOOK_FOR_SESSIONS: &str = "`aws ssm describe-sessions --state Active` lists them; the account's idle session timeout also terminates them";
