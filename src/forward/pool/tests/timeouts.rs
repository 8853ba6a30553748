//! Deadlines with a clock that moves between a handler and the query for the next deadline.

use super::*;

/// A pool under random operations. The clock advances between each handler and each
/// `poll_timeout`, as it does on a loaded machine.
struct Load {
    context: Context,
    chance: Rng,
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
        let mut chance = Rng::with_seed(seed);
        let successors = Shape {
            max_age: Some(Duration::from_secs(20)),
            ..SHARED
        };
        let spares = Context::with_spares(2).pool.shape;
        let many_spares = Shape {
            spares: 4,
            max_age: Some(Duration::from_secs(15)),
            ..OWN
        };
        let shapes = [OWN, SHARED, successors, spares, many_spares];
        let mut load = Self {
            context: Context::new(shapes[chance.usize(..shapes.len())]),
            chance,
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
        most.mul_f64(self.chance.f64())
    }

    /// One random operation of a connection, a tunnel or the user.
    fn step(&mut self) {
        let now = self.context.now;
        match self.chance.u32(..12) {
            0..4 => self.come(),
            4 => {
                if let Some(&id) = self.waiting.keys().next() {
                    self.waiting.remove(&id);
                    self.context.leave(id);
                }
            }
            5 if !self.queued.is_empty() => {
                let id = self.queued[self.chance.usize(..self.queued.len())];
                self.queued.retain(|other| *other != id);
                self.context.pool.handle_called(now, id);
                self.called.push(id);
            }
            6 | 7 if !self.called.is_empty() => self.answer(),
            8 if !self.live.is_empty() => self.change_tunnel(),
            9 if self.chance.u32(..8) == 0 => self.context.pool.retry_now(now),
            10 if self.chance.u32(..40) == 0 => self.context.pool.handle_drain(now),
            _ => {}
        }
        self.settle();
    }

    fn come(&mut self) {
        let id = self.context.next;
        self.context.next += 1;
        // A connection that asks again after its tunnel ended has an earlier deadline than others.
        let deadline = self.context.now + self.up_to(Duration::from_secs(10));
        self.waiting.insert(id, deadline);
        let now = self.context.now;
        self.context
            .pool
            .handle_acquire(now, WaiterId(id), deadline);
    }

    fn answer(&mut self) {
        let now = self.context.now;
        let which = self.chance.usize(..self.called.len());
        let id = self.called.swap_remove(which);
        if self.chance.bool() {
            self.live.insert(id, 0);
            return self.context.pool.handle_ready(now, id);
        }
        let weights = [
            TARGET_IS_OFF,
            Severity::Persistent(HoldTime::Constant),
            Severity::Transient,
            Severity::Throttled,
        ];
        let severity = weights[self.chance.usize(..weights.len())];
        self.context.pool.handle_failed(now, id, "why", severity);
    }

    fn change_tunnel(&mut self) {
        let now = self.context.now;
        let which = self.chance.usize(..self.live.len());
        let (&id, &taken) = self.live.iter().nth(which).unwrap();
        match self.chance.u32(..4) {
            0 => {
                self.live.remove(&id);
                self.context.pool.handle_ended(now, id);
            }
            1 => self.context.pool.handle_disconnected(id),
            2 => self.context.pool.handle_resumed(now, id),
            _ if taken > 0 => {
                self.live.insert(id, taken - 1);
                let uses = [Returned::Used, Returned::Unused, Returned::Unusable];
                let returned = uses[self.chance.usize(..3)];
                self.context.pool.handle_returned(now, id, returned);
            }
            _ => {}
        }
    }

    /// Takes the actions of the pool.
    fn settle(&mut self) {
        self.context.act();
        self.queued.append(&mut self.context.started);
        for id in self.context.cancelled.drain(..) {
            self.queued.retain(|queued| *queued != id);
        }
        for (waiter, tunnel) in self.context.given.drain(..) {
            self.waiting.remove(&waiter);
            *self.live.get_mut(&tunnel).unwrap() += 1;
        }
        for (waiter, _) in self.context.refused.drain(..) {
            self.waiting.remove(&waiter);
        }
        for id in self.context.retired.drain(..) {
            self.live.remove(&id);
        }
    }

    /// Advances the clock, then acts as the owner of a pool: queries the deadline, and handles it
    /// if it is due.
    fn poll(&mut self, most: Duration) {
        let earliest = self.waiting.values().min().copied();
        let passed = self.up_to(most);
        self.context.now += passed;
        let (now, seed) = (self.context.now, self.seed);
        let due = self.context.pool.poll_timeout();
        if let Some(earliest) = earliest {
            assert!(
                due.is_some_and(|due| due <= earliest),
                "seed {seed}: a connection waits beyond its deadline"
            );
        }
        if due.is_some_and(|due| due <= now) {
            self.context.pool.handle_timeout(now);
            self.settle();
            let next = self.context.pool.poll_timeout();
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
fn a_pool_is_due_when_the_first_deadline_is_whatever_the_time() {
    for seed in 0..2000 {
        let mut load = Load::new(seed);
        let pace = [1, 100, 2000, 20_000][load.chance.usize(..4)];

        for _ in 0..200 {
            load.step();
            load.poll(Duration::from_millis(pace));
        }

        // From here on, only the clock advances.
        for _ in 0..1000 {
            let Some(due) = load.context.pool.poll_timeout() else {
                break;
            };
            load.context.now = load.context.now.max(due);
            load.poll(Duration::from_millis(1));
        }
        assert!(load.waiting.is_empty(), "seed {seed}: {:?}", load.waiting);
    }
}

#[test]
fn a_deadline_that_has_passed_since_the_last_handler_is_due() {
    let mut context = Context::new(OWN);
    context.come();
    let deadline = context.now + Duration::from_secs(30);

    context.now = deadline + Duration::from_millis(1);

    assert_eq!(context.pool.poll_timeout(), Some(deadline));
    context.pass(Duration::ZERO);
    assert_eq!(context.refused, [(0, RejectReason::Late)]);
}

#[test]
fn connections_that_ask_again_are_refused_at_their_own_deadlines() {
    let mut context = Context::new(OWN);
    let now = context.now;
    context.come();
    let earlier = now + Duration::from_secs(5);
    context.pool.handle_acquire(now, WaiterId(1), earlier);
    context.next = 2;
    context.act();

    assert_eq!(context.pool.poll_timeout(), Some(earlier));
    context.pass(Duration::from_secs(5));

    assert_eq!(context.refused, [(1, RejectReason::Late)]);
}

#[test]
fn the_successor_of_an_old_tunnel_is_tried_again_after_it_failed() {
    for severity in [TARGET_IS_OFF, Severity::Transient, Severity::Throttled] {
        let mut context = Context::new(SHARED);
        context.come();
        context.ready(0);
        let old_at = context.now + Duration::from_secs(3600);
        assert_eq!(context.pool.poll_timeout(), Some(old_at));
        context.pass(Duration::from_secs(3600));
        assert_eq!(context.started.len(), 2, "its successor is started");

        context.fail(1, "why", severity);

        let mut timeouts = 0;
        while context.started.len() < 3 {
            timeouts += 1;
            assert!(timeouts < 10, "{severity:?}: nothing was started");
            let due = context
                .pool
                .poll_timeout()
                .expect("it is to be tried again");
            context.now = context.now.max(due);
            context.pass(Duration::ZERO);
        }
        let passed = context.now.saturating_duration_since(old_at);
        assert!(
            passed <= Duration::from_secs(60),
            "{severity:?}: {passed:?}"
        );
    }
}
