//! One tunnel of a pool, as the pool sees it.

use std::time::{Duration, Instant};

use super::{Returned, Shape, Urgency};

/// A tunnel that is to come, or is there.
#[derive(Debug)]
pub(super) enum Entry {
    /// Its StartSession waits for its turn.
    Queued { urgency: Urgency, probe: bool },
    /// StartSession was called; the tunnel is not ready yet. Nobody `wanted` it any more once whoever
    /// it was started for has left.
    Called {
        begun: Instant,
        probe: bool,
        wanted: bool,
    },
    /// It can carry streams.
    Ready(Ready),
}

impl Entry {
    pub(super) fn is_queued(&self) -> bool {
        matches!(self, Self::Queued { .. })
    }

    /// Whether it will have places soon. A call that nobody wants any more may be one that is never
    /// answered.
    pub(super) fn is_pending(&self, now: Instant) -> bool {
        match self {
            Self::Queued { .. } => true,
            Self::Called { .. } => self.unreliable_after().is_none_or(|at| now < at),
            Self::Ready(_) => false,
        }
    }

    /// When it is not counted on any more.
    pub(super) fn unreliable_after(&self) -> Option<Instant> {
        match self {
            Self::Called {
                begun,
                wanted: false,
                ..
            } => Some(*begun + CALL_GRACE),
            Self::Queued { .. } | Self::Called { .. } | Self::Ready(_) => None,
        }
    }

    /// Whether it is to come and somebody wants it.
    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Self::Queued { .. } => true,
            Self::Called { wanted, .. } => *wanted,
            Self::Ready(_) => false,
        }
    }

    /// Nobody wants it any more. False if that was known, or it was not called.
    pub(super) fn mark_unwanted(&mut self) -> bool {
        match self {
            Self::Called { wanted, .. } => std::mem::take(wanted),
            Self::Queued { .. } | Self::Ready(_) => false,
        }
    }

    /// Whether it comes as soon as it can.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Queued { urgency, .. } => *urgency == Urgency::Connection,
            Self::Called { wanted, .. } => *wanted,
            Self::Ready(_) => false,
        }
    }

    /// Whether a shut gate let it through.
    pub(super) fn is_probe(&self) -> bool {
        match self {
            Self::Queued { probe, .. } | Self::Called { probe, .. } => *probe,
            Self::Ready(_) => false,
        }
    }

    /// When StartSession was called.
    pub(super) fn begun(&self) -> Option<Instant> {
        match self {
            Self::Called { begun, .. } => Some(*begun),
            Self::Queued { .. } | Self::Ready(_) => None,
        }
    }

    pub(super) fn urgency_mut(&mut self) -> Option<&mut Urgency> {
        match self {
            Self::Queued { urgency, .. } => Some(urgency),
            Self::Called { .. } | Self::Ready(_) => None,
        }
    }

    pub(super) fn ready(&self) -> Option<&Ready> {
        match self {
            Self::Ready(ready) => Some(ready),
            Self::Queued { .. } | Self::Called { .. } => None,
        }
    }

    pub(super) fn ready_mut(&mut self) -> Option<&mut Ready> {
        match self {
            Self::Ready(ready) => Some(ready),
            Self::Queued { .. } | Self::Called { .. } => None,
        }
    }
}

/// A tunnel that can carry streams.
#[derive(Debug)]
pub(super) struct Ready {
    since: Instant,
    /// When it shall be replaced.
    stale_at: Option<Instant>,
    /// Connections that have a place on it now.
    taken: usize,
    /// Places that it has given in all.
    given: usize,
    /// Since when nobody has a place on it; meaningless while someone has.
    empty_since: Instant,
    /// Its websocket is being replaced: nobody knows for how long.
    pub(super) away: bool,
    /// It opens no more streams.
    is_unusable: bool,
}

impl Ready {
    /// Ready now, and to be replaced after `lifetime`.
    pub(super) fn new(now: Instant, lifetime: Option<Duration>) -> Self {
        Self {
            since: now,
            stale_at: lifetime.map(|lifetime| now + lifetime),
            taken: 0,
            given: 0,
            empty_since: now,
            away: false,
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

    /// Whether nobody had a place on it yet.
    pub(super) fn is_spare(&self) -> bool {
        self.given == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Whether there is a free place.
    pub(super) fn has_slot(&self, shape: &Shape) -> bool {
        self.taken < shape.slots && (shape.reuse || self.is_spare()) && !self.is_unusable
    }

    /// Whether a connection may have a place now. What was never used is not used any more once
    /// it is too old.
    pub(super) fn can_serve(&self, now: Instant, shape: &Shape) -> bool {
        let is_spoiled = self.is_spare() && self.is_too_old(now, shape);
        self.has_slot(shape) && !self.away && !is_spoiled
    }

    /// Whether it shall be replaced: it is old, or its numbers of streams come to an end.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let is_old = self.stale_at.is_some_and(|at| at <= now);
        is_old || self.given >= MAX_STREAMS_PER_TUNNEL || self.is_unusable
    }

    /// Whether it can never serve another connection.
    pub(super) fn is_unusable(&self) -> bool {
        self.is_unusable
    }

    pub(super) fn is_too_old(&self, now: Instant, shape: &Shape) -> bool {
        shape.max_age.is_some_and(|age| age <= self.age(now))
    }

    /// Whether nobody had a place on it for long.
    pub(super) fn is_idle(&self, now: Instant, shape: &Shape) -> bool {
        self.is_empty() && self.empty_since + shape.idle <= now
    }

    /// The times at which these answers change by themselves, past ones included.
    pub(super) fn changes(&self, shape: &Shape) -> impl Iterator<Item = Instant> + use<> {
        let too_old_at = shape.max_age.map(|age| self.since + age);
        let if_empty = [Some(self.empty_since + shape.idle), too_old_at];
        let is_empty = self.is_empty();
        let if_empty = if_empty.into_iter().filter(move |_| is_empty);
        if_empty.chain([self.stale_at]).flatten()
    }
}

/// A tunnel has 32,767 numbers for streams.
const MAX_STREAMS_PER_TUNNEL: usize = 32_000;

/// How long a call is counted on that nobody wants any more: StartSession takes a second or two.
const CALL_GRACE: Duration = Duration::from_secs(3);
