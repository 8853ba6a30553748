//! Credit: how many bytes each flow of a bundle may have on the way and unread.
//!
//! Every flow has a window of at least [`MIN_CREDIT`], which is set aside for [`MAX_FLOWS`]. The
//! rest is a pool. A flow takes a part of what is left there, never all, so that stalled flows
//! cannot keep others from their minimum and hardly from more.

use std::time::{Duration, Instant};

use super::limits::{BUNDLE_CREDIT, INITIAL_CREDIT, MAX_CREDIT, MAX_FLOWS, MIN_CREDIT};

/// Credit that no flow has.
#[derive(Debug)]
pub(super) struct CreditPool {
    size: u64,
    left: u64,
}

/// Credit of a flow: the bytes that the peer may send and that are not read yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Window {
    size: u64,
    /// Beginning of a measurement: when, and how many bytes were read before.
    since: Instant,
    read: u64,
}

impl Window {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Notes that `read` bytes were read in all. Returns true if the window is too small: it was
    /// read within a few round trips, so it limits the peer, or nearly.
    pub(super) fn is_too_small(&mut self, now: Instant, read: u64, trip: Duration) -> bool {
        if read - self.read < self.size {
            return false;
        }
        let is_fast = now.saturating_duration_since(self.since) < TRIPS * trip;
        self.since = now;
        self.read = read;
        is_fast
    }
}

impl CreditPool {
    pub(super) fn new() -> Self {
        Self::of_size(POOL)
    }

    /// Creates a pool of another size.
    pub(super) fn of_size(size: u64) -> Self {
        Self { size, left: size }
    }

    /// Returns the window of a new flow.
    pub(super) fn open(&mut self, now: Instant) -> Window {
        let extra = (INITIAL_CREDIT - MIN_CREDIT).min(self.left / 8);
        self.left -= extra;
        Window {
            size: MIN_CREDIT + extra,
            since: now,
            read: 0,
        }
    }

    /// Doubles a window, up to the limit of a flow and to a quarter of what is left in the pool.
    pub(super) fn grow(&mut self, window: &mut Window) {
        let max = MAX_CREDIT.min(self.left / 4);
        let extra = window.size.min(max.saturating_sub(window.size));
        self.left -= extra;
        window.size += extra;
    }

    /// Takes the window of a flow back that has ended.
    pub(super) fn release(&mut self, window: &mut Window) {
        let extra = window.size.saturating_sub(MIN_CREDIT);
        self.left = self.size.min(self.left + extra);
        window.size = window.size.min(MIN_CREDIT);
    }

    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        self.left == self.size
    }
}

/// A window that is read in less than this many round trips is too small.
const TRIPS: u32 = 4;

const POOL: u64 = BUNDLE_CREDIT - MIN_CREDIT * MAX_FLOWS as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_window_doubles_up_to_its_limit() {
        let mut pool = CreditPool::new();
        let mut window = pool.open(clock::now());
        assert_eq!(window.size(), INITIAL_CREDIT);

        pool.grow(&mut window);
        assert_eq!(window.size(), 2 * INITIAL_CREDIT);
        for _ in 0..9 {
            pool.grow(&mut window);
        }
        assert_eq!(window.size(), MAX_CREDIT);

        pool.release(&mut window);
        assert!(pool.is_full());
    }

    #[test]
    fn a_window_is_too_small_if_it_is_read_within_a_few_round_trips() {
        let now = clock::now();
        let mut window = CreditPool::new().open(now);
        let trip = Duration::from_millis(100);

        assert!(!window.is_too_small(now, INITIAL_CREDIT - 1, trip));
        assert!(window.is_too_small(now + 3 * trip, INITIAL_CREDIT, trip));
        assert!(!window.is_too_small(now + 4 * trip, INITIAL_CREDIT + 1, trip));
        assert!(!window.is_too_small(now + 9 * trip, 3 * INITIAL_CREDIT, trip));
    }

    #[test]
    fn all_flows_together_stay_within_the_credit_of_the_bundle() {
        let mut pool = CreditPool::new();
        let mut windows = Vec::new();

        for _ in 0..MAX_FLOWS {
            let mut window = pool.open(clock::now());
            (0..9).for_each(|_| pool.grow(&mut window));
            assert!(window.size() >= MIN_CREDIT);
            windows.push(window);
        }

        let total: u64 = windows.iter().map(Window::size).sum();
        assert!(total <= BUNDLE_CREDIT, "{total}");
        windows.iter_mut().for_each(|window| pool.release(window));
        assert!(pool.is_full());
    }

    #[test]
    fn sixteen_stalled_flows_leave_something_for_the_next() {
        let mut pool = CreditPool::new();
        for _ in 0..16 {
            let mut window = pool.open(clock::now());
            (0..9).for_each(|_| pool.grow(&mut window));
        }

        assert!(pool.open(clock::now()).size() > 4 * MIN_CREDIT);
    }
}
