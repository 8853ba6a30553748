//! Calls StartSession, after waiting for credentials.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::StartRequest;
use super::aws::{SsmClient, Started};
use super::error::{Effect, Error, ErrorKind};

/// Calls StartSession, and again with other credentials if AWS rejects the first and there are
/// others by then.
///
/// The calls are not cancelled. The wait for credentials ends when `abandoned` completes: returns
/// `None` if nothing was called. A session that may have been started stays in `unsettled`.
pub(super) async fn start(
    ssm: &SsmClient,
    request: &StartRequest,
    unsettled: &Unsettled,
    abandoned: impl Future<Output = ()>,
) -> Option<Result<Started, Error>> {
    let mut abandoned = pin!(abandoned);
    let api_client = tokio::select! {
        api_client = ssm.api_client() => api_client,
        () = &mut abandoned => return None,
    };
    let api_client = match api_client {
        Ok(api_client) => api_client,
        Err(error) => return Some(Err(error)),
    };
    let call = async |api_client| {
        unsettled.begin();
        let started = ssm.start(api_client, request).await;
        if let Err(error) = &started
            && error.effect() != Effect::Unknown
        {
            unsettled.settle();
        }
        started
    };
    let error = match call(&api_client).await {
        Err(error) if error.kind() == ErrorKind::Credentials => error,
        started => return Some(started),
    };
    let other = tokio::select! {
        other = ssm.client_other_than(&api_client, &error) => other,
        () = &mut abandoned => return Some(Err(error)),
    };
    match other {
        Some(Ok(other)) => Some(call(&other).await),
        Some(Err(error)) => Some(Err(error)),
        None => Some(Err(error)),
    }
}

/// A session that may be active although nobody owns it: its StartSession call is in flight, or the
/// session is not handed over yet. If this is dropped before [`Unsettled::settle`], for example
/// because its task is aborted, the session is added to the count of lost ones.
pub(super) struct Unsettled {
    may_be_active: AtomicBool,
    lost: Arc<AtomicUsize>,
}

impl Unsettled {
    /// Creates it before the call. `lost` is the count of lost sessions.
    pub(super) fn new(lost: Arc<AtomicUsize>) -> Self {
        let may_be_active = AtomicBool::new(false);
        Self {
            may_be_active,
            lost,
        }
    }

    /// Marks the begin of a call.
    fn begin(&self) {
        self.may_be_active.store(true, Relaxed);
    }

    /// The session does not exist, has an owner, or was counted.
    pub(super) fn settle(&self) {
        self.may_be_active.store(false, Relaxed);
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if *self.may_be_active.get_mut() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}
