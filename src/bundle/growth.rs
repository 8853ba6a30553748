//! How many stripes a bundle has.
//!
//! An end is saturated while it has something to send that all stripes together cannot take, for
//! 300 ms. The relay reports that in its acknowledgements; the daemon then asks its driver for one
//! stripe more, if it has all that it asked for. A bundle that moves little in a period returns to
//! its minimum.

use std::time::{Duration, Instant};

use super::event::Event;
use super::limits::{IDLE_BYTES, MAX_STRIPES, SATURATION};
use super::{Bundle, Options, Phase, Role};

/// Demand for stripes.
#[derive(Debug)]
pub(super) struct Growth {
    min: usize,
    max: usize,
    period: Duration,
    wanted: usize,
    /// Since when the stripes are full, short gaps left out.
    blocked_since: Option<Instant>,
    /// Beginning of the current gap.
    gap_since: Option<Instant>,
    /// The peer has reported that it is saturated, and no stripe was added since.
    is_peer_saturated: bool,
    /// The next acknowledgement reports that this end is saturated.
    is_report_due: bool,
    period_start: Instant,
    /// Bytes of flows in this period.
    bytes: u64,
}

impl Growth {
    pub(super) fn new(now: Instant, options: &Options) -> Self {
        let min = options.min_stripes.clamp(1, MAX_STRIPES / 2);
        Self {
            min,
            max: options.max_stripes.clamp(min, MAX_STRIPES / 2),
            period: options.stripe_idle,
            wanted: min,
            blocked_since: None,
            gap_since: None,
            is_peer_saturated: false,
            is_report_due: false,
            period_start: now,
            bytes: 0,
        }
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Bytes of a flow were sent or received.
    pub(super) fn handle_bytes(&mut self, len: usize) {
        self.bytes += len as u64;
    }

    pub(super) fn handle_peer_saturated(&mut self, _now: Instant) {
        self.is_peer_saturated = true;
    }

    /// The effect of another stripe is awaited before one more is asked for.
    pub(super) fn handle_stripe_live(&mut self, now: Instant) {
        self.blocked_since = self.blocked_since.map(|_| now);
        self.is_peer_saturated = false;
    }

    /// Takes the report for an acknowledgement.
    pub(super) fn take_report(&mut self) -> bool {
        std::mem::take(&mut self.is_report_due)
    }

    /// Notes whether the stripes are full now. Returns true once per time of [`SATURATION`].
    fn update_blocked(&mut self, now: Instant, is_blocked: bool) -> bool {
        let has_gap = |since: Instant| now.saturating_duration_since(since) > GAP;
        if self.gap_since.is_some_and(has_gap) {
            self.blocked_since = None;
        }
        if !is_blocked {
            self.gap_since.get_or_insert(now);
            return false;
        }
        self.gap_since = None;
        let since = *self.blocked_since.get_or_insert(now);
        let is_saturated = now.saturating_duration_since(since) >= SATURATION;
        if is_saturated {
            self.blocked_since = Some(now);
        }
        is_saturated
    }

    /// Asks for one stripe more. Returns true if that is a change.
    fn grow(&mut self, now: Instant) -> bool {
        self.begin_period(now);
        self.is_peer_saturated = false;
        let may_grow = self.wanted < self.max;
        self.wanted += usize::from(may_grow);
        may_grow
    }

    /// Ends a period. Returns true if the bundle returns to its minimum.
    fn update_period(&mut self, now: Instant) -> bool {
        if now < self.period_start + self.period {
            return false;
        }
        let is_idle = self.bytes < IDLE_BYTES && self.wanted > self.min;
        self.begin_period(now);
        if is_idle {
            self.wanted = self.min;
        }
        is_idle
    }

    fn begin_period(&mut self, now: Instant) {
        self.period_start = now;
        self.bytes = 0;
    }

    fn deadline(&self, role: Role) -> Option<Instant> {
        let blocked = self.blocked_since.filter(|_| self.gap_since.is_none());
        let blocked = blocked.map(|since| since + SATURATION);
        let can_shrink = role != Role::Relay && self.wanted > self.min;
        let period = can_shrink.then(|| self.period_start + self.period);
        [blocked, period].into_iter().flatten().min()
    }
}

impl Bundle {
    /// Grows or shrinks the number of stripes, or reports that this end is saturated.
    pub(super) fn update_growth(&mut self, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        let live = self.stripe_count();
        let is_blocked = self.queues.is_blocked() && live > 0;
        let is_saturated = self.growth.update_blocked(now, is_blocked);
        if self.role == Role::Relay {
            if is_saturated {
                self.report_saturation();
            }
            return;
        }
        let wants_more = is_saturated || self.growth.is_peer_saturated;
        let has_grown = wants_more && live >= self.growth.wanted() && self.growth.grow(now);
        if has_grown || self.growth.update_period(now) {
            let wanted = self.growth.wanted();
            self.events.push_back(Event::StripesWanted(wanted));
            self.drain_surplus();
        }
    }

    fn report_saturation(&mut self) {
        self.growth.is_report_due = true;
        let mut usable = self.stripes.values_mut().filter(|s| s.is_usable());
        if let Some(stripe) = usable.next() {
            stripe.owed.hasten();
        }
    }

    pub(super) fn growth_deadline(&self) -> Option<Instant> {
        let is_open = self.phase == Phase::Open;
        self.growth.deadline(self.role).filter(|_| is_open)
    }
}

/// A shorter time in which the stripes are not full does not count.
const GAP: Duration = Duration::from_millis(100);
