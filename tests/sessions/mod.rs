//! Sessions of connections: one each, warm, shared; never too many, and none left open.

mod accounts;
mod api_errors;
mod burst;
mod churn;
mod keep_alive;
mod limits;
mod orphaned;
mod shared;
mod warm;

use std::time::Duration;

use ssm_proxyd::clock;
use ssm_proxyd::session::{Error, Priority, Session, Sessions, SsmClient, StartRequest};
use ssm_proxyd::sim::{Destination, Operation, Simulator};

use crate::support::in_process::TARGET;

/// A forward to a port of the target, on which `destination` listens.
fn forward(name: &str, destination: &Destination, keys: &str) -> String {
    let port = destination.address().port();
    format!(
        "[[forward]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{TARGET}\"\nremote = {port}\n{keys}\n"
    )
}

/// Starts a session for a connection.
async fn start_session(
    sessions: &Sessions,
    service: &SsmClient,
    request: StartRequest,
) -> Result<Session, Error> {
    let (priority, deadline) = (
        Priority::connection(),
        clock::now() + Duration::from_secs(60),
    );
    let start = sessions.start(service, request, &priority, deadline, |_| ());
    start.await
}

/// A request for a session to a port of the target.
fn request() -> StartRequest {
    StartRequest {
        target: TARGET.to_owned(),
        document: "AWS-StartPortForwardingSession".to_owned(),
        parameters: [("portNumber".to_owned(), vec!["1".to_owned()])].into(),
        reason: "a test".to_owned(),
    }
}

/// The number of calls of an operation of the API.
fn calls(simulator: &Simulator, operation: Operation) -> u64 {
    let name = format!("{operation:?}");
    simulator.ledger().calls.get(&name).copied().unwrap_or(0)
}
