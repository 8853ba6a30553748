//! The task that asks the daemon, each second and when something is wanted at once.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::model::Update;
use crate::cli::daemon_address::{DaemonSockets, failure_hint};
use crate::clock;
use crate::daemon::{ClientError, ErrorResponse, Request, Response};
use crate::printable::Printable;

/// A connection to close.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) connection: u64,
    /// Process id of the daemon that has it.
    pub(super) pid: u32,
}

/// Asks the daemon for its status, and for the forward in `wanted`, until the receiver of the
/// updates is dropped. Each request has a deadline.
pub(super) async fn run(
    daemon: DaemonSockets,
    mut wanted: watch::Receiver<Option<Printable>>,
    mut orders: mpsc::Receiver<Order>,
    updates: mpsc::Sender<Update>,
) {
    loop {
        let name = wanted.borrow_and_update().clone();
        let update = match reports(&daemon, name).await {
            Ok(update) => update,
            Err(Failure { error, hint }) => Update::Failed { error, hint },
        };
        if updates.send(update).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(INTERVAL) => {}
            changed = wanted.changed() => if changed.is_err() { return },
            order = orders.recv() => {
                let Some(order) = order else { return };
                let result = close(&daemon, &order).await;
                let connection = order.connection;
                if updates.send(Update::Closed { connection, result }).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn reports(daemon: &DaemonSockets, name: Option<Printable>) -> Result<Update, Failure> {
    let mut client = daemon.connect().await?;
    let status = match client.ask(&Request::Status).await? {
        Response::Status(status) => status,
        Response::Error(rejection) => return Err(rejection.into()),
        other @ (Response::Forward(_)
        | Response::Closed { .. }
        | Response::Reloaded(_)
        | Response::Stopped { .. }
        | Response::Log { .. }) => return Err(Failure::unexpected(&other)),
    };
    let at = clock::now();
    let Some(name) = name.map(|name| name.to_string()) else {
        let detail = None;
        return Ok(Update::Reports { at, status, detail });
    };
    let detail = match client.ask(&Request::Forward { name }).await? {
        Response::Forward(detail) => Some(detail),
        // A reload has removed it.
        Response::Error(_) => None,
        other @ (Response::Status(_)
        | Response::Closed { .. }
        | Response::Reloaded(_)
        | Response::Stopped { .. }
        | Response::Log { .. }) => return Err(Failure::unexpected(&other)),
    };
    Ok(Update::Reports { at, status, detail })
}

/// Closes a connection, unless another daemon responds than the one that was shown: its connections
/// have the same numbers.
async fn close(daemon: &DaemonSockets, order: &Order) -> Result<(), Printable> {
    let connection = order.connection;
    let asked = async {
        let mut client = daemon.connect().await?;
        if client.pid().is_some_and(|pid| pid != order.pid) {
            return Ok(None);
        }
        client.ask(&Request::Close { connection }).await.map(Some)
    };
    match asked.await {
        Ok(Some(Response::Closed { .. })) => Ok(()),
        Ok(Some(Response::Error(rejection))) => Err(Printable::from(rejection.message)),
        Ok(Some(other)) => Err(Failure::unexpected(&other).error),
        Ok(None) => Err(Printable::from("the daemon was restarted")),
        Err(error) => Err(Printable::of(error)),
    }
}

/// The daemon did not respond, or not as expected.
struct Failure {
    error: Printable,
    hint: Printable,
}

impl Failure {
    fn unexpected(response: &Response) -> Self {
        Self {
            error: Printable::from(format!("unexpected response from the daemon: {response:?}")),
            hint: Printable::from("check that the daemon and this command have the same version"),
        }
    }
}

/// The daemon is stopping or overloaded.
impl From<ErrorResponse> for Failure {
    fn from(rejection: ErrorResponse) -> Self {
        Self {
            error: Printable::from(rejection.message),
            hint: Printable::from(rejection.hint),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self {
            hint: Printable::from(failure_hint(&error)),
            error: Printable::of(error),
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(1);
