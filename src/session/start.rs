//! Calls StartSession, after waiting for credentials.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::StartRequest;
use super::aws::{Service, Started};
use super::error::{Error, Kind};

/// Calls StartSession, and again with other credentials if AWS rejects the first and there are
/// others by then.
///
/// The calls are not cancelled. The wait for credentials ends when `abandoned` completes: returns
/// `None` if nothing was called.
pub(super) async fn start(
    service: &Service,
    request: &StartRequest,
    calling: &AtomicUsize,
    abandoned: impl Future<Output = ()>,
) -> Option<Result<Started, Error>> {
    let mut abandoned = pin!(abandoned);
    let caller = tokio::select! {
        caller = service.caller() => caller,
        () = &mut abandoned => return None,
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => return Some(Err(error)),
    };
    let call = async |caller| {
        let _calling = Calling::new(calling);
        service.start(caller, request).await
    };
    let error = match call(&caller).await {
        Err(error) if error.kind() == Kind::Credentials => error,
        started => return Some(started),
    };
    let other = tokio::select! {
        other = service.other_than(&caller, &error) => other,
        () = &mut abandoned => return Some(Err(error)),
    };
    match other {
        Some(Ok(other)) => Some(call(&other).await),
        Some(Err(error)) => Some(Err(error)),
        None => Some(Err(error)),
    }
}

/// Counts a call in flight until it is dropped.
pub(super) struct Calling<'a>(&'a AtomicUsize);

impl<'a> Calling<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
