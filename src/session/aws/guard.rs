//! Calls of library code with a timeout, and with panics caught.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use crate::session::error::{Error, Kind};

/// Awaits `work` for at most `limit`. `what` names the call in the error.
///
/// # Errors
///
/// [`Kind::Unreachable`] after `limit`, [`Kind::Internal`] if `work` panics. In both cases the rest
/// of `work` is dropped.
pub(super) async fn guarded<T>(
    what: &'static str,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    // After a panic, state borrowed by the future is only read.
    let work = AssertUnwindSafe(work).catch_unwind();
    match timeout(limit, work).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_panic)) => {
            let why = "the AWS SDK panicked; one of the values passed to it may be invalid";
            Err(Error::new(what, Kind::Internal, why))
        }
        Err(_) => {
            let why = format!("no response within {} s", limit.as_secs());
            Err(Error::new(what, Kind::Unreachable, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let work = async {
            if true {
                panic!("in a test")
            }
        };

        let error = guarded("call", Duration::from_secs(60), work).await;

        assert_eq!(error.unwrap_err().kind(), Kind::Internal);
    }

    #[tokio::test]
    async fn what_does_not_end_is_an_error() {
        let error = guarded("call", Duration::from_millis(1), pending::<()>()).await;

        assert_eq!(error.unwrap_err().kind(), Kind::Unreachable);
    }
}
