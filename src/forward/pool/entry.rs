//! State of one tunnel in a pool.

use std::time::{Duration, Instant};

use super::{PoolMode, Priority, Returned};

/// A tunnel that is being established, or is ready.
#[derive(Debug)]
pub(super) enum PoolEntry {
    /// Its StartSession is queued.
    Queued { priority: Priority, probe: bool },
    /// StartSession was called; the tunnel is not ready yet. `wanted` is false once the connection
    /// it was started for no longer needs it. `answered` is true once there is a session.
    Calling {
        begun: Instant,
        probe: bool,
        wanted: bool,
        answered: bool,
    },
    /// It can carry streams.
    Ready(ReadyTunnel),
}

impl PoolEntry {
    pub(super) fn is_queued(&self) -> bool {
        matches!(self, Self::Queued { .. })
    }

    /// Returns true if it will have slots soon. An unwanted call counts for [`CALL_GRACE`] only:
    /// it may never be answered.
    pub(super) fn is_pending(&self, now: Instant) -> bool {
        match self {
            Self::Queued { .. } => true,
            Self::Calling { .. } => self.unreliable_after().is_none_or(|at| now < at),
            Self::Ready(_) => false,
        }
    }

    /// Returns the time after which an unwanted call is no longer counted as pending.
    pub(super) fn unreliable_after(&self) -> Option<Instant> {
        match self {
            Self::Calling {
                begun,
                wanted: false,
                ..
            } => Some(*begun + CALL_GRACE),
            Self::Queued { .. } | Self::Calling { .. } | Self::Ready(_) => None,
        }
    }

    /// Returns true if it is not ready yet and still needed.
    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Self::Queued { .. } => true,
            Self::Calling { wanted, .. } => *wanted,
            Self::Ready(_) => false,
        }
    }

    /// Marks a call as unwanted. Returns false if it was unwanted before, or is not a call.
    pub(super) fn mark_unwanted(&mut self) -> bool {
        match self {
            Self::Calling { wanted, .. } => std::mem::take(wanted),
            Self::Queued { .. } | Self::Ready(_) => false,
        }
    }

    /// Marks that its session was started.
    pub(super) fn mark_answered(&mut self) {
        if let Self::Calling { answered, .. } = self {
            *answered = true;
        }
    }

    /// Returns true if it has a session, is not ready yet, and the connection it was started for
    /// has left.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Calling {
                wanted, answered, ..
            } => *answered && !*wanted,
            Self::Queued { .. } | Self::Ready(_) => false,
        }
    }

    /// Returns true if it is needed and already has the priority of a waiting connection.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Queued { priority, .. } => *priority == Priority::Waiter,
            Self::Calling { wanted, .. } => *wanted,
            Self::Ready(_) => false,
        }
    }

    /// Returns true if it is the probe of the circuit breaker.
    pub(super) fn is_probe(&self) -> bool {
        match self {
            Self::Queued { probe, .. } | Self::Calling { probe, .. } => *probe,
            Self::Ready(_) => false,
        }
    }

    /// Returns when StartSession was called.
    pub(super) fn begun(&self) -> Option<Instant> {
        match self {
            Self::Calling { begun, .. } => Some(*begun),
            Self::Queued { .. } | Self::Ready(_) => None,
        }
    }

    pub(super) fn priority_mut(&mut self) -> Option<&mut Priority> {
        match self {
            Self::Queued { priority, .. } => Some(priority),
            Self::Calling { .. } | Self::Ready(_) => None,
        }
    }

    pub(super) fn ready(&self) -> Option<&ReadyTunnel> {
        match self {
            Self::Ready(ready) => Some(ready),
            Self::Queued { .. } | Self::Calling { .. } => None,
        }
    }

    pub(super) fn ready_mut(&mut self) -> Option<&mut ReadyTunnel> {
        match self {
            Self::Ready(ready) => Some(ready),
            Self::Queued { .. } | Self::Calling { .. } => None,
        }
    }
}

/// A tunnel that can carry streams.
#[derive(Debug)]
pub(super) struct ReadyTunnel {
    since: Instant,
    /// When it must be replaced.
    stale_at: Option<Instant>,
    /// Slots in use.
    taken: usize,
    /// Slots given in total.
    given: usize,
    /// Since when no slot is in use; meaningless while one is.
    empty_since: Instant,
    /// Its websocket is being replaced, for an unknown time.
    pub(super) is_disconnected: bool,
    /// It opens no more streams.
    is_unusable: bool,
}

impl ReadyTunnel {
    /// Creates the state of a tunnel that is ready now and is stale after `lifetime`.
    pub(super) fn new(now: Instant, lifetime: Option<Duration>) -> Self {
        Self {
            since: now,
            stale_at: lifetime.map(|lifetime| now + lifetime),
            taken: 0,
            given: 0,
            empty_since: now,
            is_disconnected: false,
            is_unusable: false,
        }
    }

    pub(super) fn take_slot(&mut self) {
        self.taken += 1;
        self.given += 1;
    }

    pub(super) fn release(&mut self, now: Instant, returned: Returned) {
        self.taken = self.taken.saturating_sub(1);
        self.given -= usize::from(returned != Returned::Used).min(self.given);
        self.empty_since = now;
        self.is_unusable |= returned == Returned::Unusable;
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Returns true if no connection has used it yet.
    pub(super) fn is_warm(&self) -> bool {
        self.given == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Returns true if a slot is free.
    pub(super) fn has_slot(&self, mode: &PoolMode) -> bool {
        self.taken < mode.slots && (mode.reuse || self.is_warm()) && !self.is_unusable
    }

    /// Returns true if a connection may get a slot now. A warm session that is too old is not
    /// used any more.
    pub(super) fn can_serve(&self, now: Instant, mode: &PoolMode) -> bool {
        let is_too_old_to_use = self.is_warm() && self.is_too_old(now, mode);
        self.has_slot(mode) && !self.is_disconnected && !is_too_old_to_use
    }

    /// Returns true if it must be replaced: it is old, or its stream numbers run out.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let is_old = self.stale_at.is_some_and(|at| at <= now);
        is_old || self.given >= MAX_STREAMS_PER_TUNNEL || self.is_unusable
    }

    /// Returns true if it can never serve another connection.
    pub(super) fn is_unusable(&self) -> bool {
        self.is_unusable
    }

    pub(super) fn is_too_old(&self, now: Instant, mode: &PoolMode) -> bool {
        mode.max_age.is_some_and(|age| age <= self.age(now))
    }

    /// Returns true if no slot was in use for the idle time.
    pub(super) fn is_idle(&self, now: Instant, mode: &PoolMode) -> bool {
        self.is_empty() && self.empty_since + mode.idle <= now
    }

    /// Returns the times at which these results change, including past ones.
    pub(super) fn changes(&self, mode: &PoolMode) -> impl Iterator<Item = Instant> + use<> {
        let too_old_at = mode.max_age.map(|age| self.since + age);
        let if_empty = [Some(self.empty_since + mode.idle), too_old_at];
        let is_empty = self.is_empty();
        let if_empty = if_empty.into_iter().filter(move |_| is_empty);
        if_empty.chain([self.stale_at]).flatten()
    }
}

/// A tunnel has 32,767 stream numbers.
const MAX_STREAMS_PER_TUNNEL: usize = 32_000;

/// How long an unwanted call counts as pending: StartSession takes 1 to 2 s.
const CALL_GRACE: Duration = Duration::from_secs(3);
