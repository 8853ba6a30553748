//! Counts the calls of the AWS API, by operation and outcome.
//!
//! One table for the whole process: it is updated once per call, and read when metrics are requested.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error_class::ErrorClass;
use crate::session::error::Error;

/// Operation, class of the error if the call failed, and number of such calls.
pub type ApiCallCount = (&'static str, Option<ErrorClass>, u64);

/// Counts a completed call and returns its outcome.
pub(super) fn counted<T>(operation: &'static str, outcome: Result<T, Error>) -> Result<T, Error> {
    let class = outcome.as_ref().err().map(Error::class);
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry((operation, class)).or_default() += 1;
    outcome
}

/// Returns the number of completed calls since the process started. An operation that was called
/// has a row for success, possibly with zero.
pub fn api_calls() -> Vec<ApiCallCount> {
    let mut counts = COUNTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let called: Vec<_> = counts.keys().map(|(operation, _)| *operation).collect();
    for operation in called.into_iter().chain(ALWAYS) {
        counts.entry((operation, None)).or_default();
    }
    let rows = counts.into_iter();
    rows.map(|((operation, class), count)| (operation, class, count))
        .collect()
}

/// Bounded: operations are constants of this program, and classes an enum.
static COUNTS: Mutex<BTreeMap<(&'static str, Option<ErrorClass>), u64>> =
    Mutex::new(BTreeMap::new());

/// Operations that every forward needs. They have a row before the first call.
const ALWAYS: [&str; 4] = [
    "credentials",
    "ResumeSession",
    "StartSession",
    "TerminateSession",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::error::ErrorKind;

    #[test]
    fn calls_are_counted_by_operation_and_outcome() {
        let error = Error::new("TestCall", ErrorKind::Throttled, "slow down");

        counted("TestCall", Ok(())).unwrap();
        counted("TestCall", Ok(())).unwrap();
        counted::<()>("TestCall", Err(error)).unwrap_err();

        let calls = api_calls();
        assert!(calls.contains(&("TestCall", None, 2)));
        assert!(calls.contains(&("TestCall", Some(ErrorClass::Throttled), 1)));
        for operation in ALWAYS {
            let is_there =
                |(called, class, _): &ApiCallCount| *called == operation && class.is_none();
            assert!(calls.iter().any(is_there), "{operation}");
        }
    }
}
