//! The program that has called this one, such as the AWS CLI. If it is killed, nothing passes signals
//! on any more.

use std::os::unix::process::parent_id;
use std::time::Duration;

use tokio::time::sleep;

/// The caller, by its process id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(u32);

impl Caller {
    /// Returns the process that is the parent now.
    pub(super) fn current() -> Self {
        Self(parent_id())
    }

    /// Waits until it has ended: another process has become the parent.
    pub(super) async fn ended(self) {
        while parent_id() == self.0 {
            sleep(INTERVAL).await;
        }
    }
}

/// How often the parent is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
