//! Signals, and requests of admin and HTTP clients, while the daemon runs and while it stops.

use tokio::sync::watch;
use tracing::{info, warn};

use super::admin::{self, Admin, PendingRequest, Request, Response, ResponseSender};
use super::aws_clients::AwsClients;
use super::credentials;
use super::http::Http;
use super::signals::{Signal, Signals};
use super::snapshot::{Snapshot, SnapshotSender};
use super::status::{DaemonStats, ForwardSnapshot};
use crate::panics;
use crate::session::{RetryTrigger, ShutdownMode};
use crate::telemetry::{LogHandle, StatusReport};
use crate::tunnel::Trigger;

/// What signals and requests need.
#[derive(Debug)]
pub(super) struct ControlPlane {
    /// The admin socket, if it is bound.
    pub(super) admin: Option<Admin>,
    /// The HTTP server for health and metrics.
    pub(super) http: Http,
    /// Clients that requested the stop. They are answered when it has completed.
    pub(super) stop_waiters: Vec<ResponseSender>,
    /// Sets the shutdown mode of the dispatcher.
    pub(super) shutdown_mode: watch::Sender<ShutdownMode>,
    pub(super) aws: AwsClients,
    pub(super) retry_trigger: RetryTrigger,
    pub(super) trigger: Trigger,
    pub(super) dump_connections: Trigger,
    pub(super) stats: DaemonStats,
    pub(super) log: Option<LogHandle>,
}

/// A signal or a request.
#[derive(Debug)]
pub(super) enum Event {
    Signal(Signal),
    PendingRequest(PendingRequest),
    /// An HTTP request.
    Snapshot(SnapshotSender),
}

/// A demand that depends on whether the daemon is stopping.
#[derive(Debug)]
pub(super) enum Demand {
    /// By the signal of this name.
    StopBySignal(&'static str),
    StopByRequest,
    /// By a signal or a client.
    Reload(Option<ResponseSender>),
}

impl ControlPlane {
    /// Waits for the next signal or request. Cancel safe.
    pub(super) async fn next(&mut self, signals: &mut Signals) -> Event {
        let (admin, http) = (&mut self.admin, &mut self.http);
        let admin = async {
            match admin {
                Some(admin) => admin.next_request().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = signals.next() => Event::Signal(signal),
            request = admin => Event::PendingRequest(request),
            reply = http.next_request() => Event::Snapshot(reply),
        }
    }

    /// Handles a signal or request, except what the caller must do.
    pub(super) fn handle(
        &mut self,
        event: Event,
        forwards: &ForwardSnapshot,
        is_stopping: bool,
    ) -> Option<Demand> {
        match event {
            Event::Signal(Signal::Stop(name)) => return Some(Demand::StopBySignal(name)),
            Event::Signal(Signal::Reload) => return Some(Demand::Reload(None)),
            Event::Signal(Signal::RetryNow) => {
                info!("retrying now");
                panics::point("daemon");
                self.retry_now();
            }
            Event::Signal(Signal::DumpConnections) => {
                let connections = forwards.connections();
                info!(connections, "listing open connections");
                self.dump_connections.send();
            }
            Event::Snapshot(reply) => {
                let report = self.report(forwards, is_stopping);
                let rejections = self.http.rejections();
                let snapshot = Snapshot::new(report, &self.stats, forwards, &self.aws, rejections);
                // The client may have gone.
                let _gone = reply.send(snapshot);
            }
            Event::PendingRequest(PendingRequest { request, reply }) => match request {
                Request::Status => {
                    let report = self.report(forwards, is_stopping);
                    answer(reply, Response::Status(Box::new(report)));
                }
                Request::Forward { name } => {
                    let report = self.report(forwards, is_stopping);
                    answer(reply, detail(report, forwards, &name));
                }
                Request::Close { connection } => {
                    let response = forwards.close(connection);
                    if matches!(response, Response::Closed { .. }) {
                        info!(
                            connection,
                            "closing a connection: requested over the admin socket"
                        );
                    }
                    answer(reply, response);
                }
                Request::Log { level } => answer(reply, admin::set_log(self.log.as_ref(), level)),
                Request::Reload => return Some(Demand::Reload(Some(reply))),
                Request::Stop { now } => {
                    self.stop_waiters.push(reply);
                    if now {
                        force_shutdown(&self.shutdown_mode);
                    }
                    return Some(Demand::StopByRequest);
                }
            },
        }
        None
    }

    fn report(&self, forwards: &ForwardSnapshot, is_stopping: bool) -> StatusReport {
        let filter = admin::filter(self.log.as_ref());
        let mut report = self.stats.report(forwards, filter, is_stopping);
        for (forward, info) in report.forwards.iter_mut().zip(&forwards.running) {
            forward.credentials = credentials::report(&self.aws, &info.settings);
        }
        report
    }

    /// Retries everything immediately, and makes every tunnel test its websocket.
    pub(super) fn retry_now(&self) {
        self.aws.retry_now();
        self.retry_trigger.retry_now();
        self.trigger.send();
    }

    /// Answers the clients that requested the stop, and closes the servers.
    pub(super) async fn close(self, sessions_left: Option<usize>) {
        for reply in self.stop_waiters {
            answer(reply, Response::Stopped { sessions_left });
        }
        if let Some(admin) = self.admin {
            admin.close().await;
        }
        self.http.close().await;
    }
}

/// Returns the detailed report of the forward of this name.
fn detail(report: StatusReport, forwards: &ForwardSnapshot, name: &str) -> Response {
    let known: Vec<String> = report.forwards.iter().map(|f| f.name.to_string()).collect();
    let mut configured = report.forwards.into_iter();
    let configured = configured.find(|forward| forward.name == *name);
    match configured.or_else(|| forwards.report_of_removed(name)) {
        Some(forward) => Response::Forward(Box::new(forwards.detail(forward))),
        None => {
            let error = format!("the daemon has no forward {name:?}");
            let hint = format!("its forwards: {}", known.join(", "));
            admin::error_response(admin::ErrorKind::Request, error, &hint)
        }
    }
}

/// Answers a request. Its client may have gone.
pub(super) fn answer(reply: ResponseSender, response: Response) {
    let _gone = reply.send(response);
}

/// Forces the shutdown: the remaining sessions are terminated now.
pub(super) fn force_shutdown(shutdown_mode: &watch::Sender<ShutdownMode>) {
    warn!("forced shutdown: terminating all sessions now");
    shutdown_mode.send_replace(ShutdownMode::Forced);
}
