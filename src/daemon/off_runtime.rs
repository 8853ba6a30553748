//! Runs work that may block: files on a disk that does not respond, the SDK's own file reads.
//!
//! The work runs on a thread of its own with a deadline, so that signals, commands and the watchdog
//! are served meanwhile. A blocked thread cannot be ended; the runtime does not wait for it when
//! the process exits.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::StartError;
use crate::blocking;

/// Runs a future on a thread where it may block.
///
/// # Errors
///
/// The future's own error; [`StartError::Unfinished`] if it takes longer than [`LIMIT`] or panics.
pub(super) async fn off_runtime<T: Send + 'static>(
    what: &'static str,
    future: impl Future<Output = Result<T, StartError>> + Send + 'static,
) -> Result<T, StartError> {
    match timeout(LIMIT, blocking::spawn_future(future)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(StartError::Unfinished {
            what,
            why: format!("internal error ({panic}); please report it"),
        }),
        Err(_) => Err(StartError::Unfinished {
            what,
            why: format!("not read within {} s", LIMIT.as_secs()),
        }),
    }
}

/// Longer than the timeout for asking the instance metadata service for the region.
const LIMIT: Duration = Duration::from_secs(20);
