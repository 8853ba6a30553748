//! Finds sessions whose StartSession response was lost, so that their id is unknown.
//!
//! The `Reason` of each call is unique. DescribeSessions finds the session by it, if this program
//! has the permission. The session is then terminated like any other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{Span, debug, info, warn};

use super::Sessions;
use crate::session::StartRequest;
use crate::session::aws::SsmClient;
use crate::session::error::{Error, ErrorKind, Recovery};
use crate::session::terminate::{TimeLeft, reached};

/// Makes the reason of each call unique.
#[derive(Debug)]
pub(super) struct Reasons {
    /// Identifies this process: 32 bits.
    nonce: u64,
    next: AtomicU64,
}

impl Reasons {
    /// Creates it from a random `seed`, which differs between processes.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            nonce: seed & 0xffff_ffff,
            next: AtomicU64::new(1),
        }
    }

    /// Returns `reason` with a unique suffix, cut to the length that the API allows.
    pub(super) fn unique(&self, reason: &str) -> String {
        let number = self.next.fetch_add(1, Relaxed);
        let mark = format!(" [{:08x}-{number}]", self.nonce);
        let most = MAX_REASON.saturating_sub(mark.len());
        reason.chars().take(most).chain(mark.chars()).collect()
    }
}

/// A StartSession call whose response was lost.
pub(super) struct Lost {
    pub(super) ssm: SsmClient,
    pub(super) request: StartRequest,
    pub(super) sessions: Sessions,
    pub(super) span: Span,
    /// Why there is no response.
    pub(super) error: Error,
}

impl Lost {
    /// Searches for the session for one minute, and terminates it if found. Returns how many
    /// sessions may still be active: 1 unless it was found.
    pub(super) async fn find(self, mut time_left: watch::Receiver<TimeLeft>) -> usize {
        let mut last = None;
        for pause in PAUSES {
            let is_last = tokio::select! {
                () = sleep(pause) => false,
                () = reached(&mut time_left, TimeLeft::Seconds) => true,
            };
            match self.ssm.find_session(&self.request).await {
                Ok(Some(id)) => {
                    self.terminate(id).await;
                    return 0;
                }
                Ok(None) => last = None,
                Err(error) => {
                    debug!(%error, "cannot find the session of a lost response");
                    // A response of a proxy or captive portal says nothing about the session.
                    let is_final =
                        error.recovery() == Recovery::GiveUp && error.kind() != ErrorKind::NotAws;
                    last = Some(error);
                    if is_final {
                        break;
                    }
                }
            }
            if is_last {
                break;
            }
        }
        let (error, hint) = (&self.error, FIND_BY_REASON);
        let search = last.map_or_else(
            || "DescribeSessions does not list it".to_owned(),
            |error| error.to_string(),
        );
        warn!(%error, search, hint, "no usable response to StartSession; its session may still be active");
        1
    }

    async fn terminate(self, id: String) {
        info!(session = %id, error = %self.error, "found the session of a lost response; terminating it");
        // A registered session is terminated by its own guard.
        if let Some(registration) = self.sessions.register(&self.ssm, &id).await {
            self.sessions.terminate(self.ssm, registration, self.span);
        }
    }
}

/// The pause before each search: the response may be lost before the session is listed.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
    Duration::from_secs(40),
];

/// Limit of the API for a reason, in characters.
const MAX_REASON: usize = 256;

/// Hint for finding a session whose id is unknown.
pub(super) const FIND_BY_REASON: &str = "its `Reason` names this program, host and forward; see `aws ssm describe-sessions --state Active`. With the permission ssm:DescribeSessions, this program finds and terminates such sessions itself";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_unique_and_never_too_long() {
        let reasons = Reasons::new(1);
        let (first, second) = (reasons.unique("who"), reasons.unique("who"));
        let long = reasons.unique(&"ä".repeat(300));

        assert!(
            first.starts_with("who [") && first.ends_with("-1]"),
            "{first}"
        );
        assert_ne!(first, second);
        assert_eq!(long.chars().count(), MAX_REASON);
        assert!(long.ends_with("-3]"), "{long}");
        assert_ne!(Reasons::new(2).unique("who"), first, "another process");
    }
}
