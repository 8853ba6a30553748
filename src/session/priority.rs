//! Who goes first in the queue for StartSession.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a connection waits for a session, or it is only to be kept ready. That may change while
/// its turn has not come. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Urgency(Arc<AtomicBool>);

impl Urgency {
    /// A connection waits.
    pub fn connection() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Nobody waits.
    pub fn spare() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// Someone waits now.
    pub fn hurry(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether someone waits.
    pub(super) fn is_urgent(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
