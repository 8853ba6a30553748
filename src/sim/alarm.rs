//! A timer with a precision of about ten microseconds, for the pace of agents.
//!
//! The runtime's timers have millisecond resolution, and an agent sends a message every 1.4 ms
//! (docs/protocol.md, section 0.2). Therefore a dedicated thread sleeps until the next deadline.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;

/// Returns true for deadlines that need this timer; those further away use the runtime's timers, and
/// so do all in virtual time.
pub(super) fn is_near(wait: Duration) -> bool {
    #[cfg(test)]
    if clock::virtual_time::is_active() {
        return false;
    }
    wait < NEAR
}

/// Wakes tasks at given times. Its thread ends soon after the drop; the drop does not wait for it,
/// because the last owner may be a task that the thread itself drops.
#[derive(Debug)]
pub(super) struct Alarm {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    deadlines: BinaryHeap<Reverse<Deadline>>,
    /// Number that orders equal times, so that wakers need no order.
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Deadline {
    at: Instant,
    number: u64,
    waker: Waker,
}

impl Alarm {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create the thread.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let alarm = Self {
            shared: Arc::clone(&shared),
        };
        #[cfg(test)]
        if clock::virtual_time::is_active() {
            return Ok(alarm);
        }
        let thread = thread::Builder::new().name("alarm".to_owned());
        thread.spawn(move || shared.run())?;
        Ok(alarm)
    }

    /// Wakes a task once at the given time.
    pub(super) fn wake_at(&self, at: Instant, waker: Waker) {
        let mut pending = self.shared.lock();
        let number = pending.next;
        pending.next += 1;
        let is_first = pending.deadlines.peek().is_none_or(|Reverse(d)| at < d.at);
        pending
            .deadlines
            .push(Reverse(Deadline { at, number, waker }));
        drop(pending);
        if is_first {
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut pending = self.lock();
        while !pending.closed {
            let now = clock::now();
            let next = pending.deadlines.peek().map(|Reverse(next)| next.at);
            pending = match next {
                None => self
                    .changed
                    .wait(pending)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) if at > now => {
                    let waited = self.changed.wait_timeout(pending, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    let due = pending.deadlines.pop();
                    drop(pending);
                    if let Some(Reverse(due)) = due {
                        due.waker.wake();
                    }
                    self.lock()
                }
            };
        }
    }
}

const NEAR: Duration = Duration::from_millis(5);

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Deadline {}
