//! Bounds of the queues of the pool task, which are asserted in debug builds.

use super::PoolTask;

impl PoolTask {
    /// The channel of requests is unbounded, because a guard cannot wait in `drop`; what sends to
    /// it is bounded.
    pub(super) fn assert_bounds(&self) {
        let listeners = LISTENERS_PER_ADDRESS * self.settings.listen.len();
        let accepted = self.settings.max_connections + self.context.max_waiting + listeners;
        let requests = REQUESTS_PER_CONNECTION * accepted + EVENTS_PER_TUNNEL * self.tasks.len();
        debug_assert!(
            self.incoming.len() <= requests,
            "{} requests to the pool task, at most {requests} expected",
            self.incoming.len()
        );
        debug_assert!(
            self.waiters.len() <= accepted,
            "{} connections wait for a slot, at most {accepted} expected",
            self.waiters.len()
        );
    }
}

/// See [`crate::forward::pool_handle::AcceptPermit`].
const REQUESTS_PER_CONNECTION: usize = 3;

/// More than a tunnel reports before the pool task runs again.
const EVENTS_PER_TUNNEL: usize = 64;

/// `localhost` is two addresses.
const LISTENERS_PER_ADDRESS: usize = 2;
