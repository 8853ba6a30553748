//! Queues of StartSession calls, one per service (account and region).
//!
//! Each queue has its own rate limiter, so that throttling of one service does not delay the
//! others. In a queue, starts with a waiting connection take priority over warm sessions; within
//! each class the order is first in, first out. A waiter that was cancelled uses no token.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::rate_limiter::Limiter;

/// The queues of all services. `K` identifies a service.
#[derive(Debug)]
pub(super) struct Queues<K, T> {
    queues: BTreeMap<K, ServiceQueue<T>>,
    /// Rate and random seed of new limiters.
    rate: u32,
    seed: u64,
}

impl<K: Ord, T: Queued> Queues<K, T> {
    /// Creates empty queues. `rate` is the maximum number of calls per second and service, at least
    /// 1.
    pub(super) fn new(rate: u32, seed: u64) -> Self {
        Self {
            queues: BTreeMap::new(),
            rate,
            seed,
        }
    }

    /// Removes all waiters and all rate limiter state.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
    }

    /// Adds a waiter to the queue of a service.
    pub(super) fn push(&mut self, now: Instant, key: K, one: T) {
        if !self.queues.contains_key(&key) {
            // Reloads may configure new services again and again.
            self.queues.retain(|_, queue| !queue.is_forgettable(now));
        }
        let (rate, seed) = (self.rate, self.seed);
        let queue = self.queues.entry(key);
        let queue = queue.or_insert_with(|| ServiceQueue::new(Limiter::new(now, rate, seed)));
        queue.push(one);
    }

    /// Returns the next waiter whose call may be made now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<T> {
        self.queues.values_mut().find_map(|queue| queue.poll(now))
    }

    /// Returns when [`Queues::poll`] may next return a waiter.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.queues
            .values()
            .filter_map(ServiceQueue::poll_timeout)
            .min()
    }

    /// Returns the rate limiter of a service, if it has been used lately.
    pub(super) fn limiter(&mut self, key: &K) -> Option<&mut Limiter> {
        self.queues.get_mut(key).map(|queue| &mut queue.limiter)
    }

    /// Changes the rate, at least 1 call per second and service.
    pub(super) fn set_rate(&mut self, rate: u32) {
        self.rate = rate;
        for queue in self.queues.values_mut() {
            queue.limiter.set_rate(rate);
        }
    }

    /// Ends all pauses after throttling.
    pub(super) fn retry_now(&mut self, now: Instant) {
        for queue in self.queues.values_mut() {
            queue.limiter.retry_now(now);
        }
    }
}

/// Waiters for one service.
#[derive(Debug)]
struct ServiceQueue<T> {
    waiting: VecDeque<T>,
    limiter: Limiter,
}

/// A queued start.
pub(super) trait Queued {
    /// Returns whether the waiter was cancelled.
    fn is_cancelled(&self) -> bool;

    /// Returns whether a connection is waiting for this start.
    fn is_urgent(&self) -> bool;
}

impl<T: Queued> ServiceQueue<T> {
    fn new(limiter: Limiter) -> Self {
        Self {
            waiting: VecDeque::new(),
            limiter,
        }
    }

    fn push(&mut self, one: T) {
        self.waiting.push_back(one);
    }

    /// Returns the next waiter whose call may be made now.
    fn poll(&mut self, now: Instant) -> Option<T> {
        self.waiting.retain(|one| !one.is_cancelled());
        if self.waiting.is_empty() || now < self.limiter.next() {
            return None;
        }
        let urgent = self.waiting.iter().position(T::is_urgent);
        let next = self.waiting.remove(urgent.unwrap_or(0))?;
        self.limiter.take(now);
        Some(next)
    }

    /// Returns when [`ServiceQueue::poll`] may next return a waiter.
    fn poll_timeout(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.limiter.next())
    }

    /// Returns whether the queue can be dropped: a new one would behave the same.
    fn is_forgettable(&self, now: Instant) -> bool {
        self.waiting.iter().all(T::is_cancelled) && self.limiter.is_fresh(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct One {
        name: u32,
        urgent: bool,
        left: bool,
    }

    impl Queued for One {
        fn is_cancelled(&self) -> bool {
            self.left
        }

        fn is_urgent(&self) -> bool {
            self.urgent
        }
    }

    fn queue(rate: u32, now: Instant) -> ServiceQueue<One> {
        ServiceQueue::new(Limiter::new(now, rate, 1))
    }

    fn names(queue: &mut ServiceQueue<One>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| queue.poll(now).map(|one| one.name)).collect()
    }

    #[test]
    fn connections_precede_warm_sessions_and_each_class_is_in_order() {
        let now = clock::now();
        let mut queue = queue(5, now);
        for (name, urgent) in [(1, false), (2, true), (3, false), (4, true)] {
            let left = false;
            queue.push(One { name, urgent, left });
        }

        assert_eq!(names(&mut queue, now), [2, 4, 1, 3]);
    }

    #[test]
    fn starts_follow_the_rate_and_cancelled_ones_use_no_token() {
        let now = clock::now();
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
        let now = clock::now();
        let mut queue = queue(1, now);
        assert_eq!(queue.poll_timeout(), None);
        let (name, urgent, left) = (1, true, true);
        queue.push(One { name, urgent, left });

        assert_eq!(queue.poll(now), None);
        assert_eq!(queue.poll_timeout(), None);
    }

    #[test]
    fn a_throttled_service_delays_no_other() {
        let now = clock::now();
        let mut queues = Queues::new(1, 1);
        let one = |name| One {
            name,
            urgent: true,
            left: false,
        };
        for name in 0..5 {
            queues.push(now, "throttled", one(name));
        }
        let first = queues.poll(now);
        let limiter = queues.limiter(&"throttled").unwrap();
        limiter.handle_throttled(now, now);

        queues.push(now, "other", one(9));

        assert_eq!(first, Some(one(0)));
        assert_eq!(queues.poll(now), Some(one(9)));
        assert_eq!(queues.poll(now), None);
        let next = queues.poll_timeout().unwrap();
        assert!(next > now);
        assert_eq!(queues.poll(next + Duration::from_secs(60)), Some(one(1)));
    }

    #[test]
    fn unused_services_are_dropped() {
        let start = clock::now();
        let mut queues = Queues::new(5, 1);
        let one = One {
            name: 1,
            urgent: true,
            left: false,
        };

        for key in 0..1000 {
            let now = start + Duration::from_secs(key);
            queues.push(now, key, one);
            queues.poll(now).unwrap();
            let limiter = queues.limiter(&key).unwrap();
            limiter.handle_throttled(now, now);
        }

        assert!(queues.queues.len() < 200, "{}", queues.queues.len());
    }
}
