//! Tests of the pool: connections that come and go, tunnels that start or fail.

mod chaos;
mod crowd;
mod dedicated;
mod failures;
mod handed_over;
mod slots;
mod timeouts;
mod warm_sessions;

use super::*;
use crate::clock;
use crate::session::HoldTime;

const EXCLUSIVE: PoolMode = PoolMode {
    slots: 1,
    reuse: false,
    warm_sessions: 0,
    max_age: None,
    idle: Duration::ZERO,
    is_dedicated: false,
};
const SHARED: PoolMode = PoolMode {
    slots: 3,
    reuse: true,
    warm_sessions: 0,
    max_age: Some(Duration::from_secs(3600)),
    idle: Duration::from_secs(600),
    is_dedicated: false,
};
const DEDICATED: PoolMode = PoolMode {
    is_dedicated: true,
    ..EXCLUSIVE
};
const TARGET_IS_OFF: Severity = Severity::Persistent(HoldTime::Exponential);

/// A pool and its owner, which executes the actions and records them.
struct Harness {
    pool: Pool<&'static str>,
    now: Instant,
    next: u64,
    started: Vec<TunnelId>,
    /// The connection that each was started for, if it is for one.
    owners: Vec<Option<u64>>,
    given: Vec<(u64, TunnelId)>,
    refused: Vec<(u64, RejectReason<&'static str>)>,
    retired: Vec<TunnelId>,
    cancelled: Vec<TunnelId>,
    hurried: Vec<TunnelId>,
}

impl Harness {
    fn new(mode: PoolMode) -> Self {
        let mut harness = Self {
            pool: Pool::new(mode, 1),
            now: clock::now(),
            next: 0,
            started: Vec::new(),
            owners: Vec::new(),
            given: Vec::new(),
            refused: Vec::new(),
            retired: Vec::new(),
            cancelled: Vec::new(),
            hurried: Vec::new(),
        };
        harness.pass(Duration::ZERO);
        harness
    }

    fn with_warm(warm_sessions: usize) -> Self {
        Self::new(PoolMode {
            warm_sessions,
            max_age: Some(Duration::from_secs(600)),
            ..EXCLUSIVE
        })
    }

    fn apply(&mut self) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                Action::Start { tunnel, .. } => {
                    self.started.push(tunnel);
                    self.owners
                        .push(self.pool.owner(tunnel).map(|owner| owner.0));
                }
                Action::Prioritize(tunnel) => self.hurried.push(tunnel),
                Action::Cancel(tunnel) => self.cancelled.push(tunnel),
                Action::Assign { waiter, tunnel } => self.given.push((waiter.0, tunnel)),
                Action::Reject { waiter, why } => self.refused.push((waiter.0, why)),
                Action::Close(tunnel) => self.retired.push(tunnel),
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.pool.handle_timeout(self.now);
        self.apply();
    }

    fn connect(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        let deadline = self.now + Duration::from_secs(30);
        self.pool.handle_acquire(self.now, WaiterId(id), deadline);
        self.apply();
        id
    }

    fn leave(&mut self, id: u64) {
        self.pool.handle_cancel(self.now, WaiterId(id));
        self.apply();
    }

    fn call(&mut self, n: usize) -> TunnelId {
        let id = self.started[n];
        self.pool.handle_called(self.now, id);
        id
    }

    /// The session of a start is there; its tunnel is not ready yet.
    fn answer(&mut self, n: usize) -> TunnelId {
        let id = self.call(n);
        self.pool.handle_started(self.now, id);
        self.apply();
        id
    }

    fn ready(&mut self, n: usize) -> TunnelId {
        let id = self.call(n);
        self.pool.handle_ready(self.now, id);
        self.apply();
        id
    }

    fn fail(&mut self, n: usize, error: &'static str, severity: Severity) {
        let id = self.call(n);
        self.pool.handle_failed(self.now, id, error, severity);
        self.apply();
    }

    fn give_back_unusable(&mut self, id: TunnelId) {
        self.pool.handle_returned(self.now, id, Returned::Unusable);
        self.apply();
    }

    fn release(&mut self, id: TunnelId) {
        self.pool.handle_returned(self.now, id, Returned::Used);
        self.apply();
    }
}
