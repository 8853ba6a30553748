//! Whose turn it is to call StartSession.
//!
//! Whoever a connection waits for goes before what is only kept ready; else first come, first
//! served, and all wait for the limiter. A place whose owner has left costs no token.

use std::collections::VecDeque;
use std::time::Instant;

use super::limiter::Limiter;

/// Those who wait for their turn.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<T>,
    limiter: Limiter,
}

/// One who waits.
pub(super) trait Waiting {
    /// Whether nobody waits any more.
    fn has_left(&self) -> bool;

    /// Whether a connection waits for it.
    fn is_urgent(&self) -> bool;
}

impl<T: Waiting> Queue<T> {
    /// Nobody waits.
    pub(super) fn new(limiter: Limiter) -> Self {
        Self {
            waiting: VecDeque::new(),
            limiter,
        }
    }

    /// One more waits.
    pub(super) fn push(&mut self, one: T) {
        self.waiting.push_back(one);
    }

    /// The next one whose turn has come.
    pub(super) fn poll(&mut self, now: Instant) -> Option<T> {
        self.waiting.retain(|one| !one.has_left());
        if self.waiting.is_empty() || now < self.limiter.next() {
            return None;
        }
        let urgent = self.waiting.iter().position(T::is_urgent);
        let next = self.waiting.remove(urgent.unwrap_or(0))?;
        self.limiter.take(now);
        Some(next)
    }

    /// When [`Queue::poll`] may have one.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.limiter.next())
    }

    /// What limits the turns.
    pub(super) fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct One {
        name: u32,
        urgent: bool,
        left: bool,
    }

    impl Waiting for One {
        fn has_left(&self) -> bool {
            self.left
        }

        fn is_urgent(&self) -> bool {
            self.urgent
        }
    }

    fn queue(rate: u32, now: Instant) -> Queue<One> {
        Queue::new(Limiter::new(now, rate, 1))
    }

    fn names(queue: &mut Queue<One>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| queue.poll(now).map(|one| one.name)).collect()
    }

    #[test]
    fn connections_go_before_spares_and_else_in_order() {
        let now = Instant::now();
        let mut queue = queue(5, now);
        for (name, urgent) in [(1, false), (2, true), (3, false), (4, true)] {
            let left = false;
            queue.push(One { name, urgent, left });
        }

        assert_eq!(names(&mut queue, now), [2, 4, 1, 3]);
    }

    #[test]
    fn turns_come_at_the_rate_and_those_who_left_cost_none() {
        let now = Instant::now();
        let mut queue = queue(1, now);
        for name in 0..12 {
            let (urgent, left) = (true, name % 2 == 1);
            queue.push(One { name, urgent, left });
        }

        assert_eq!(names(&mut queue, now), [0, 2, 4, 6]);
        let next = queue.poll_timeout().unwrap();
        assert_eq!(next, now + Duration::from_secs(1));
        assert_eq!(names(&mut queue, next), [8]);
    }

    #[test]
    fn an_empty_queue_waits_for_nothing() {
        let now = Instant::now();
        let mut queue = queue(1, now);
        assert_eq!(queue.poll_timeout(), None);
        let (name, urgent, left) = (1, true, true);
        queue.push(One { name, urgent, left });

        assert_eq!(queue.poll(now), None);
        assert_eq!(queue.poll_timeout(), None);
    }
}
