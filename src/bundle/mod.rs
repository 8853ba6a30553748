//! The bundle: one end of the relay protocol, which spreads any number of connections (flows) over
//! several byte streams (stripes).
//!
//! [`Bundle`] is a state machine without sockets, tasks and clock, for both ends: the daemon opens
//! flows, the relay connects them. The protocol is specified in `docs/relay-protocol.md`.
//!
//! ```text
//!             flows                                  stripes
//!   open, write, finish, reset ─▶ ┌────────┐ ─▶ poll_transmit (per stripe)
//!                          read ◀─ │ Bundle │ ◀─ handle_bytes, handle_stripe_lost
//!                    poll_event ◀─ └────────┘ ◀─ connect_stripe, accept_stripe
//!                       poll_timeout, handle_timeout
//! ```
//!
//! The driver calls a method for each input. Then it calls [`Bundle::poll_transmit`] for each stripe
//! whose byte stream has taken all bytes before, and drains [`Bundle::poll_event`], until both return
//! nothing, and sleeps until [`Bundle::poll_timeout`]. Every method may make any stripe transmit.
//!
//! Guarantees:
//! - Each byte of a flow is read exactly once, in order, or the flow is reset. The end of a flow is
//!   read only after all of its bytes.
//! - Records of a stripe that is lost or silent are sent again on others.
//! - A violation of the protocol ends the bundle; it never panics, and never yields wrong bytes.
//! - A flow that is not read stalls alone. Memory is bounded (`limits`), whatever the peer sends.

pub mod error;
pub mod event;
pub mod features;
pub mod handshake;
pub mod ids;
pub mod limits;
pub mod record;
pub mod report;

mod assembly;
mod byte_queue;
mod credit;
mod ending;
mod flow;
mod flows;
mod growth;
mod input;
mod ledger;
mod number_set;
mod path;
mod scheduling;
mod stripe;
mod stripes;
mod timers;
mod transmit;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use credit::CreditPool;
use event::Event;
use flow::Flow;
use growth::Growth;
use ids::{BundleId, FlowId, StripeId};
use ledger::Ledger;
use number_set::NumberSet;
use scheduling::Queues;
use stripe::Stripe;

/// Parameters of a bundle.
#[derive(Clone, Debug)]
pub struct Options {
    /// Minimum number of stripes while the bundle is used, at least 1 (daemon).
    pub min_stripes: usize,
    /// Maximum number of stripes, at most 32 (daemon).
    pub max_stripes: usize,
    /// Time after which an idle bundle returns to the minimum (daemon).
    pub stripe_idle: Duration,
    /// How long a bundle without a stripe is kept.
    pub keep: Duration,
    /// Features that a daemon offers, or a relay knows ([`features`]).
    pub features: u32,
}

/// The two ends of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Opens flows and stripes.
    Daemon(BundleId),
    /// Accepts stripes and connects flows.
    Relay,
}

/// Life of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// `close` was called: ends when everything is acknowledged, or at this time.
    Closing(Instant),
    /// The peer said GOODBYE; flows whose bytes have all arrived are read to their end.
    Draining,
    Ended,
}

/// One end of a bundle.
#[derive(Debug)]
pub struct Bundle {
    role: Role,
    options: Options,
    phase: Phase,
    stripes: BTreeMap<StripeId, Stripe>,
    next_stripe: u64,
    /// True if the daemon has received a WELCOME.
    is_known: bool,
    /// The features in use; `None` until a stripe is accepted.
    features: Option<u32>,
    /// Since when there is no stripe.
    alone_since: Option<Instant>,
    flows: BTreeMap<FlowId, Flow>,
    /// Identifiers of all flows that ever existed.
    known_flows: NumberSet,
    credit: CreditPool,
    /// Pieces of flows beyond gaps.
    fragments: usize,
    ledger: Ledger,
    received: NumberSet,
    queues: Queues,
    growth: Growth,
    pings: u64,
    /// GOODBYE for stripes that are removed.
    last_bytes: BTreeMap<StripeId, Bytes>,
    events: VecDeque<Event>,
}

impl Bundle {
    /// Creates the daemon's end.
    pub fn daemon(now: Instant, id: BundleId, options: Options) -> Self {
        Self::new(now, Role::Daemon(id), options)
    }

    /// Returns true if flows can be opened.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Creates the relay's end.
    pub fn relay(now: Instant, options: Options) -> Self {
        Self::new(now, Role::Relay, options)
    }

    fn new(now: Instant, role: Role, mut options: Options) -> Self {
        // Sums with times must not overflow.
        options.keep = options.keep.min(LONGEST);
        options.stripe_idle = options.stripe_idle.min(LONGEST);
        Self {
            role,
            growth: Growth::new(now, &options),
            options,
            phase: Phase::Open,
            stripes: BTreeMap::new(),
            next_stripe: 0,
            is_known: false,
            features: None,
            alone_since: Some(now),
            flows: BTreeMap::new(),
            known_flows: NumberSet::default(),
            credit: CreditPool::new(),
            fragments: 0,
            ledger: Ledger::default(),
            received: NumberSet::default(),
            queues: Queues::default(),
            pings: 0,
            last_bytes: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// Returns the next event. Drained after each call of another method; their number is then
    /// bounded by the number of flows and stripes, and by the length of the input.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns true if the bundle has ended.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Returns the features in use. They do not change once a stripe was accepted, so not during
    /// the life of an open flow.
    pub fn features(&self) -> u32 {
        self.features.unwrap_or_default()
    }

    /// Returns the number of flows, those included whose end is not complete.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    /// Returns the number of stripes that have completed the handshake.
    pub fn stripe_count(&self) -> usize {
        let is_live = |stripe: &&Stripe| stripe.state != stripe::StripeState::Greeting;
        self.stripes.values().filter(is_live).count()
    }

    /// Returns the number of stripes that the bundle should have (daemon).
    pub fn stripes_wanted(&self) -> usize {
        self.growth.wanted()
    }
}

impl Options {
    /// Defaults of the daemon's configuration.
    pub const DEFAULT: Self = Self {
        min_stripes: 1,
        max_stripes: 8,
        stripe_idle: Duration::from_secs(60),
        keep: Duration::from_secs(600),
        features: 0,
    };
}

/// Maximum of times that users choose.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests;
