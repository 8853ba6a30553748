//! Requests the status of the daemon over HTTP, as a monitor does.

use std::time::Duration;

use tokio::time::timeout;

use super::world::HTTP;
use crate::telemetry::StatusReport;
use crate::virtual_net::{Address, connect};

/// Returns the status; `None` if nothing listens or the server closed the connection.
///
/// # Errors
///
/// If there is no response in time, or one that is not a status.
pub(super) async fn status() -> Result<Option<StatusReport>, String> {
    let requested = timeout(TIMEOUT, request()).await;
    let Some(response) = requested.map_err(|_| "no response to /status".to_owned())? else {
        return Ok(None);
    };
    let response = String::from_utf8_lossy(&response).into_owned();
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    if !head.starts_with("HTTP/1.1 200") {
        return match head.starts_with("HTTP/1.1 503") && body.contains("stopping")
            || head.is_empty()
        {
            true => Ok(None),
            false => Err(format!("unexpected response to /status: {head:?} {body:?}")),
        };
    }
    let report = serde_json::from_str(body.trim());
    report
        .map(Some)
        .map_err(|error| format!("malformed status: {error}"))
}

async fn request() -> Option<Vec<u8>> {
    let stream = connect(&Address::Tcp(HTTP)).await.ok()?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {HTTP}\r\nConnection: close\r\n\r\n");
    stream.write(request.as_bytes()).await.ok()?;
    let mut response = Vec::new();
    loop {
        let bytes = stream.read(usize::MAX).await.ok()?;
        if bytes.is_empty() {
            return Some(response);
        }
        response.extend_from_slice(&bytes);
    }
}

/// Longer than the timeout of the server for the daemon's response.
const TIMEOUT: Duration = Duration::from_secs(12);
