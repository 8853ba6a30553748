//! Deadlines with a clock that moves between a handler and the query for the next deadline.

use super::*;

/// A pool under random operations. The clock advances between each handler and each
/// `poll_timeout`, as it does on a loaded machine.
struct Load {
    harness: Harness,
    rng: Rng,
    /// Deadlines of the waiting connections.
    waiting: BTreeMap<u64, Instant>,
    queued: Vec<TunnelId>,
    called: Vec<TunnelId>,
    /// Ready tunnels and the connections on each.
    live: BTreeMap<TunnelId, usize>,
    seed: u64,
}

impl Load {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let successors = PoolMode {
            max_age: Some(Duration::from_secs(20)),
            ..SHARED
        };
        let warm_sessions = Harness::with_warm(2).pool.mode;
        let many_warm = PoolMode {
            warm_sessions: 4,
            max_age: Some(Duration::from_secs(15)),
            ..EXCLUSIVE
        };
        let modes = [EXCLUSIVE, SHARED, successors, warm_sessions, many_warm];
        let mut load = Self {
            harness: Harness::new(modes[rng.usize(..modes.len())]),
            rng,
            waiting: BTreeMap::new(),
            queued: Vec::new(),
            called: Vec::new(),
            live: BTreeMap::new(),
            seed,
        };
        load.settle();
        load
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.f64())
    }

    /// One random operation of a connection, a tunnel or the user.
    fn step(&mut self) {
        let now = self.harness.now;
        match self.rng.u32(..12) {
            0..4 => self.connect(),
            4 => {
                if let Some(&id) = self.waiting.keys().next() {
                    self.waiting.remove(&id);
                    self.harness.leave(id);
                }
            }
            5 if !self.queued.is_empty() => {
                let id = self.queued[self.rng.usize(..self.queued.len())];
                self.queued.retain(|other| *other != id);
                self.harness.pool.handle_called(now, id);
                self.called.push(id);
            }
            6 | 7 if !self.called.is_empty() => self.answer(),
            8 if !self.live.is_empty() => self.change_tunnel(),
            9 if self.rng.u32(..8) == 0 => self.harness.pool.retry_now(now),
            10 if self.rng.u32(..40) == 0 => self.harness.pool.handle_drain(now),
            _ => {}
        }
        self.settle();
    }

    fn connect(&mut self) {
        let id = self.harness.next;
        self.harness.next += 1;
        // A connection that asks again after its tunnel ended has an earlier deadline than others.
        let deadline = self.harness.now + self.up_to(Duration::from_secs(10));
        self.waiting.insert(id, deadline);
        let now = self.harness.now;
        self.harness
            .pool
            .handle_acquire(now, WaiterId(id), deadline);
    }

    fn answer(&mut self) {
        let now = self.harness.now;
        let which = self.rng.usize(..self.called.len());
        let id = self.called.swap_remove(which);
        if self.rng.bool() {
            self.live.insert(id, 0);
            return self.harness.pool.handle_ready(now, id);
        }
        let weights = [
            TARGET_IS_OFF,
            Severity::Persistent(HoldTime::Constant),
            Severity::Transient,
            Severity::Throttled,
        ];
        let severity = weights[self.rng.usize(..weights.len())];
        self.harness.pool.handle_failed(now, id, "why", severity);
    }

    fn change_tunnel(&mut self) {
        let now = self.harness.now;
        let which = self.rng.usize(..self.live.len());
        let (&id, &taken) = self.live.iter().nth(which).unwrap();
        match self.rng.u32(..4) {
            0 => {
                self.live.remove(&id);
                self.harness.pool.handle_ended(now, id);
            }
            1 => self.harness.pool.handle_disconnected(id),
            2 => self.harness.pool.handle_resumed(now, id),
            _ if taken > 0 => {
                self.live.insert(id, taken - 1);
                let uses = [Returned::Used, Returned::Unused, Returned::Unusable];
                let returned = uses[self.rng.usize(..3)];
                self.harness.pool.handle_returned(now, id, returned);
            }
            _ => {}
        }
    }

    /// Takes the actions of the pool.
    fn settle(&mut self) {
        self.harness.apply();
        self.queued.append(&mut self.harness.started);
        for id in self.harness.cancelled.drain(..) {
            self.queued.retain(|queued| *queued != id);
        }
        for (waiter, tunnel) in self.harness.given.drain(..) {
            self.waiting.remove(&waiter);
            *self.live.get_mut(&tunnel).unwrap() += 1;
        }
        for (waiter, _) in self.harness.refused.drain(..) {
            self.waiting.remove(&waiter);
        }
        for id in self.harness.retired.drain(..) {
            self.live.remove(&id);
        }
    }

    /// Advances the clock, then acts as the owner of a pool: queries the deadline, and handles it
    /// if it is due.
    fn poll(&mut self, most: Duration) {
        let earliest = self.waiting.values().min().copied();
        let passed = self.up_to(most);
        self.harness.now += passed;
        let (now, seed) = (self.harness.now, self.seed);
        let due = self.harness.pool.poll_timeout();
        if let Some(earliest) = earliest {
            assert!(
                due.is_some_and(|due| due <= earliest),
                "seed {seed}: a connection waits beyond its deadline"
            );
        }
        if due.is_some_and(|due| due <= now) {
            self.harness.pool.handle_timeout(now);
            self.settle();
            let next = self.harness.pool.poll_timeout();
            assert!(
                next.is_none_or(|next| next > now),
                "seed {seed}: handled, and due again at once"
            );
            let late = self.waiting.values().any(|deadline| *deadline <= now);
            assert!(!late, "seed {seed}: a late connection was not refused");
        }
    }
}

#[test]
fn a_pool_is_due_at_the_first_deadline_however_the_clock_advances() {
    for seed in 0..2000 {
        let mut load = Load::new(seed);
        let pace = [1, 100, 2000, 20_000][load.rng.usize(..4)];

        for _ in 0..200 {
            load.step();
            load.poll(Duration::from_millis(pace));
        }

        // From here on, only the clock advances.
        for _ in 0..1000 {
            let Some(due) = load.harness.pool.poll_timeout() else {
                break;
            };
            load.harness.now = load.harness.now.max(due);
            load.poll(Duration::from_millis(1));
        }
        assert!(load.waiting.is_empty(), "seed {seed}: {:?}", load.waiting);
    }
}

#[test]
fn a_deadline_that_has_passed_since_the_last_handler_is_due() {
    let mut harness = Harness::new(EXCLUSIVE);
    harness.connect();
    let deadline = harness.now + Duration::from_secs(30);

    harness.now = deadline + Duration::from_millis(1);

    assert_eq!(harness.pool.poll_timeout(), Some(deadline));
    harness.pass(Duration::ZERO);
    assert_eq!(harness.refused, [(0, RejectReason::Late)]);
}

#[test]
fn connections_that_request_again_are_refused_at_their_own_deadlines() {
    let mut harness = Harness::new(EXCLUSIVE);
    let now = harness.now;
    harness.connect();
    let earlier = now + Duration::from_secs(5);
    harness.pool.handle_acquire(now, WaiterId(1), earlier);
    harness.next = 2;
    harness.apply();

    assert_eq!(harness.pool.poll_timeout(), Some(earlier));
    harness.pass(Duration::from_secs(5));

    assert_eq!(harness.refused, [(1, RejectReason::Late)]);
}

#[test]
fn the_successor_of_an_old_tunnel_is_retried_after_a_failure() {
    for severity in [TARGET_IS_OFF, Severity::Transient, Severity::Throttled] {
        let mut harness = Harness::new(SHARED);
        harness.connect();
        harness.ready(0);
        let old_at = harness.now + Duration::from_secs(3600);
        assert_eq!(harness.pool.poll_timeout(), Some(old_at));
        harness.pass(Duration::from_secs(3600));
        assert_eq!(harness.started.len(), 2, "its successor is started");

        harness.fail(1, "why", severity);

        let mut timeouts = 0;
        while harness.started.len() < 3 {
            timeouts += 1;
            assert!(timeouts < 10, "{severity:?}: nothing was started");
            let due = harness
                .pool
                .poll_timeout()
                .expect("it is to be tried again");
            harness.now = harness.now.max(due);
            harness.pass(Duration::ZERO);
        }
        let passed = harness.now.saturating_duration_since(old_at);
        assert!(
            passed <= Duration::from_secs(60),
            "{severity:?}: {passed:?}"
        );
    }
}
