//! Sends commands over the admin socket, as `ssm-proxyd status` and the others do.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::script::AdminCommand;
use super::world::ADMIN;
use crate::daemon::{Request, Response};
use crate::virtual_net::{Address, Stream, connect};

/// Sends a command and checks its response.
///
/// # Errors
///
/// If there is no response in time, or another one than expected. A connection that is closed
/// without a response is no error: the daemon has ended.
pub(super) async fn command(command: AdminCommand) -> Result<(), String> {
    let request = match command {
        AdminCommand::Silent => return silent().await,
        AdminCommand::Invalid => return expect(b"{\"command\":\"go\"}\n", command).await,
        AdminCommand::Status => Request::Status,
        AdminCommand::Forward => Request::Forward {
            name: "f0".to_owned(),
        },
        AdminCommand::Close(connection) => Request::Close { connection },
        AdminCommand::Log => Request::Log { level: None },
        AdminCommand::Reload => Request::Reload,
    };
    expect(&line(&request)?, command).await
}

/// Requests a stop, and waits for the response: when the daemon has stopped. Returns `None` if it
/// has ended without one.
pub(super) async fn stop(now: bool) -> Result<Option<Response>, String> {
    request(&line(&Request::Stop { now })?, MAX_STOP).await
}

fn line(request: &Request) -> Result<Vec<u8>, String> {
    let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    line.push(b'\n');
    Ok(line)
}

async fn expect(line: &[u8], command: AdminCommand) -> Result<(), String> {
    let limit = match command == AdminCommand::Reload {
        true => MAX_RELOAD,
        false => MAX_ANSWER,
    };
    let response = request(line, limit).await;
    let response = response.map_err(|why| format!("admin {command:?}: {why}"))?;
    let is_expected = match (&response, command) {
        (None, _)
        | (
            Some(Response::Error(_)),
            AdminCommand::Reload | AdminCommand::Invalid | AdminCommand::Close(_),
        )
        | (Some(Response::Forward(_)), AdminCommand::Forward)
        | (Some(Response::Closed { .. }), AdminCommand::Close(_))
        | (Some(Response::Reloaded(_)), AdminCommand::Reload)
        | (Some(Response::Status(_)), AdminCommand::Status)
        | (Some(Response::Log { .. }), AdminCommand::Log) => true,
        (Some(_), _) => false,
    };
    match is_expected {
        true => Ok(()),
        false => Err(format!("admin {command:?}: unexpected {response:?}")),
    }
}

/// A client that sends nothing is disconnected.
async fn silent() -> Result<(), String> {
    let Some(stream) = connected().await else {
        return Ok(());
    };
    let ended = timeout(MAX_ANSWER, stream.read(1)).await;
    ended
        .map(drop)
        .map_err(|_| "a silent admin client is not disconnected".to_owned())
}

/// Returns the response; `None` if nothing listens, or the connection ends without one.
async fn request(line: &[u8], limit: Duration) -> Result<Option<Response>, String> {
    let Some(stream) = connected().await else {
        return Ok(None);
    };
    let received = async {
        stream.write(line).await.ok()?;
        let mut response = Vec::new();
        while !response.ends_with(b"\n") {
            let bytes = stream.read(usize::MAX).await.ok()?;
            if bytes.is_empty() {
                return None;
            }
            response.extend_from_slice(&bytes);
        }
        Some(response)
    };
    let Some(response) = timeout(limit, received)
        .await
        .map_err(|_| "no response in time".to_owned())?
    else {
        return Ok(None);
    };
    serde_json::from_slice(&response)
        .map(Some)
        .map_err(|error| format!("malformed response: {error}"))
}

async fn connected() -> Option<Stream> {
    connect(&Address::Unix(PathBuf::from(ADMIN))).await.ok()
}

/// Longer than the event loop is ever busy, and than the timeout of a silent client.
const MAX_ANSWER: Duration = Duration::from_secs(6);

/// A reload in progress, and then this one: reading the file, loading AWS settings, binding.
const MAX_RELOAD: Duration = Duration::from_secs(2 * (10 + 20 + 5) + 5);

/// Longer than all phases of a stop.
const MAX_STOP: Duration = Duration::from_secs(60);
