//! Limits on concurrent calls per client.
//!
//! Each client has its own limits, so that an account or endpoint that does not respond does not
//! delay others. A permit is acquired after the credentials, so that a hanging credential provider
//! holds none.

use tokio::sync::Semaphore;

/// The limits of one client.
pub(in crate::session) struct ClientLimits {
    /// Calls of ResumeSession.
    pub(in crate::session) resume: Semaphore,
    /// Calls of TerminateSession.
    pub(in crate::session) terminate: Semaphore,
}

impl ClientLimits {
    pub(super) fn new() -> Self {
        Self {
            resume: Semaphore::new(MAX_RESUME),
            terminate: Semaphore::new(MAX_TERMINATE),
        }
    }
}

/// Maximum number of concurrent ResumeSession calls.
const MAX_RESUME: usize = 64;

/// Maximum number of concurrent TerminateSession calls.
const MAX_TERMINATE: usize = 32;
