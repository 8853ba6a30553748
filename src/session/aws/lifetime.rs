//! Lifetime of credentials, and what may be shown of them.

use std::time::{Duration, SystemTime};

use super::SsmClient;
use crate::printable::Printable;

/// What is known of the current credentials, without secrets.
#[derive(Clone, Debug)]
pub struct CredentialsInfo {
    /// AWS account, if their source reports it.
    pub account: Option<Printable>,
    /// When they expire, if they do.
    pub expiry: Option<SystemTime>,
}

impl SsmClient {
    /// Returns what is known of the current credentials; `None` if there are none yet.
    pub fn credentials(&self) -> Option<CredentialsInfo> {
        self.0.api_clients.info()
    }
}

/// When credentials are replaced, and when they expire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) refresh: SystemTime,
    pub(super) expiry: SystemTime,
}

impl Times {
    /// Of credentials that were received at `now`.
    pub(super) fn new(now: SystemTime, expiry: SystemTime) -> Self {
        let life = expiry.duration_since(now).unwrap_or_default();
        // Credentials that live only a few minutes would be replaced all the time.
        let early = EARLY.min(life / 5);
        let refresh = expiry.checked_sub(early).unwrap_or(expiry);
        Self { refresh, expiry }
    }
}

/// How long before expiry credentials are replaced.
const EARLY: Duration = Duration::from_secs(300);
