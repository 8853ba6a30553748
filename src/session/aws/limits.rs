//! How many calls of one service may be made at the same time.
//!
//! Each service has its own limits: an account or endpoint that does not answer holds up no other.
//! A permit is acquired once there are credentials, so that a provider that hangs holds none.

use tokio::sync::Semaphore;

/// The limits of one service.
pub(in crate::session) struct Limits {
    /// Calls of ResumeSession.
    pub(in crate::session) resume: Semaphore,
    /// Calls of TerminateSession.
    pub(in crate::session) terminate: Semaphore,
}

impl Limits {
    pub(super) fn new() -> Self {
        Self {
            resume: Semaphore::new(MAX_RESUME),
            terminate: Semaphore::new(MAX_TERMINATE),
        }
    }
}

/// Calls of ResumeSession at the same time.
const MAX_RESUME: usize = 64;

/// Calls of TerminateSession at the same time.
const MAX_TERMINATE: usize = 32;
