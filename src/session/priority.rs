//! Priority in the StartSession queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a connection is waiting for the session, or it is a warm session. May change while the
/// start is queued. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Priority(Arc<AtomicBool>);

impl Priority {
    /// A connection is waiting.
    pub fn connection() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// A warm session; no connection is waiting.
    pub fn warm_session() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// Raises the priority: a connection is waiting now.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether a connection is waiting.
    pub(super) fn is_urgent(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
