//! The sessions of this process that are not terminated yet, by origin and id.
//!
//! ```text
//!   StartSession ok ─▶ Registration ─▶ Session ─ dropped ─▶ Termination ─ done ─▶ removed
//! ```
//!
//! Detects a session id that was returned twice, and counts the sessions that are still active at
//! the end of a shutdown.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::error::Error;
use super::journal::Origin;

/// Sessions that are not terminated yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry(Arc<Mutex<BTreeSet<(Origin, String)>>>);

impl Registry {
    /// Adds a session. Returns `None` if its origin already has one with this id.
    pub(super) fn add(&self, origin: Origin, id: &str) -> Option<Registration> {
        let key = (origin, id.to_owned());
        let is_new = self.keys().insert(key.clone());
        is_new.then(|| Registration {
            key,
            registry: self.clone(),
            is_lost: AtomicBool::new(false),
            outcome: watch::Sender::new(None),
        })
    }

    /// Returns the number of sessions that are not terminated.
    pub(super) fn len(&self) -> usize {
        self.keys().len()
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<(Origin, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of one session. Dropping it removes the entry.
#[derive(Debug)]
pub(super) struct Registration {
    key: (Origin, String),
    registry: Registry,
    is_lost: AtomicBool,
    /// The result of its termination.
    outcome: watch::Sender<Option<Result<(), Error>>>,
}

impl Registration {
    pub(super) fn id(&self) -> &str {
        &self.key.1
    }

    /// Records the result of the termination.
    pub(super) fn settle(&self, outcome: Result<(), Error>) {
        self.outcome.send_replace(Some(outcome));
    }

    /// Returns a receiver of the result of the termination.
    pub(super) fn watch(&self) -> SessionEnd {
        SessionEnd(self.outcome.subscribe())
    }

    /// Keeps the entry permanently: the session can no longer be terminated.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Relaxed);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.is_lost.load(Relaxed) {
            self.registry.keys().remove(&self.key);
        }
    }
}

/// The end of a session, which can be waited for after the session itself was dropped.
#[derive(Debug)]
pub struct SessionEnd(watch::Receiver<Option<Result<(), Error>>>);

impl SessionEnd {
    /// Waits until TerminateSession has succeeded. Returns `None` if its result is unknown, because
    /// the dispatcher has ended.
    ///
    /// # Errors
    ///
    /// The error after which no further attempt is made.
    pub async fn confirmed(mut self) -> Option<Result<(), Error>> {
        let outcome = self.0.wait_for(Option::is_some).await;
        outcome.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(region: &str) -> Origin {
        Origin {
            region: region.to_owned(),
            profile: None,
            profile_first: false,
            role: None,
            endpoint: None,
        }
    }

    #[test]
    fn an_id_is_registered_once_per_origin_until_its_session_is_terminated() {
        let registry = Registry::default();
        let first = registry.add(origin("here"), "a").unwrap();
        assert!(registry.add(origin("here"), "a").is_none());
        assert_eq!(registry.len(), 1);
        assert!(registry.add(origin("there"), "a").is_some());

        drop(first);

        assert_eq!(registry.len(), 0);
        registry.add(origin("here"), "a").unwrap().lose();
        assert_eq!(registry.len(), 1, "it was not ended");
    }
}
