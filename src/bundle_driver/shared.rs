//! The state that the driver, the stripe tasks and the users of flows share.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::codec::{Frames, Inbound, Outbound};
use crate::bundle::event::{End, Event, StripeEnd};
use crate::bundle::ids::{FlowId, StripeId};
use crate::bundle::limits::MAX_KNOWN_FLOWS;
use crate::bundle::record::{Destination, FailureClass};
use crate::bundle::{Bundle, Options};
use crate::clock;
use crate::printable::Printable;

/// Why a bundle has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleEnd {
    /// As the protocol says.
    #[error(transparent)]
    Ended(#[from] End),
    /// A task panicked, or the driver was dropped.
    #[error("internal error")]
    Internal,
}

/// A bundle and everything that waits for it.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// The driver must compute its deadline again.
    pub(super) deadline_changed: Notify,
    /// Why the bundle has ended.
    pub(super) ended: watch::Sender<Option<BundleEnd>>,
    /// The compressed frames that may be open.
    pub(super) frames: Frames,
    /// The number of stripes, and how many are wanted.
    pub(super) demand: watch::Sender<Demand>,
}

/// How many stripes there are, connecting ones included, and how many the bundle wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) present: usize,
    pub(super) wanted: usize,
    /// Flows can be opened.
    pub(super) is_open: bool,
}

/// What the lock protects.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) bundle: Bundle,
    pub(super) stripes: BTreeMap<StripeId, StripeSlot>,
    pub(super) flows: BTreeMap<FlowId, FlowSlot>,
    /// Flows to connect, at most [`MAX_KNOWN_FLOWS`] (relay).
    pub(super) incoming: VecDeque<(FlowId, Destination)>,
    incoming_waker: Option<Waker>,
    end: Option<BundleEnd>,
    /// When the driver wakes up; `None` while it computes that.
    armed: Option<Instant>,
    /// Tasks to wake after the lock is released.
    wakers: Vec<Waker>,
}

/// A stripe and its task.
#[derive(Debug, Default)]
pub(super) struct StripeSlot {
    /// Bytes to send, taken by its task.
    pub(super) output: Option<Bytes>,
    /// True while its byte stream has not taken the bytes before.
    pub(super) is_writing: bool,
    /// Why the bundle has removed it.
    pub(super) end: Option<StripeEnd>,
    pub(super) writer: Option<Waker>,
    pub(super) closer: Option<Waker>,
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// A flow and the tasks that wait for it.
#[derive(Debug, Default)]
pub(super) struct FlowSlot {
    pub(super) state: FlowState,
    pub(super) is_finished: bool,
    pub(super) is_end_read: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Waits until the flow is open, or closed.
    pub(super) watcher: Option<Waker>,
    /// Bytes that its user has written and read.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Its encoder and decoder, while they are not in use.
    pub(super) outbound: Option<Box<Outbound>>,
    pub(super) inbound: Option<Box<Inbound>>,
}

/// State of a flow, as its user sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum FlowState {
    /// Not connected yet.
    #[default]
    Opening,
    Open,
    /// The relay could not connect it.
    Failed(FailureClass, Printable),
    Reset,
}

impl FlowSlot {
    /// Returns true if nothing can be read or written.
    pub(super) fn is_closed(&self) -> bool {
        match self.state {
            FlowState::Opening | FlowState::Open => false,
            FlowState::Failed(..) | FlowState::Reset => true,
        }
    }
}

impl Shared {
    pub(super) fn new(bundle: Bundle) -> Self {
        let demand = Demand {
            present: 0,
            wanted: bundle.stripes_wanted(),
            is_open: bundle.is_open(),
        };
        let inner = Inner {
            bundle,
            stripes: BTreeMap::new(),
            flows: BTreeMap::new(),
            incoming: VecDeque::new(),
            incoming_waker: None,
            end: None,
            armed: None,
            wakers: Vec::new(),
        };
        Self {
            inner: Mutex::new(inner),
            deadline_changed: Notify::new(),
            ended: watch::Sender::new(None),
            frames: Frames::new(),
            demand: watch::Sender::new(demand),
        }
    }

    /// Calls the bundle, transmits on all stripes that take bytes, and wakes the tasks that its
    /// events concern. A panic ends the bundle.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        let now = clock::now();
        let mut inner = self.lock();
        let called = catch_unwind(AssertUnwindSafe(|| {
            let result = call(&mut inner, now);
            inner.settle(now);
            result
        }));
        if called.is_err() {
            inner.end_after_panic(now);
        }
        let is_earlier = inner.is_deadline_earlier();
        let wakers = std::mem::take(&mut inner.wakers);
        self.publish(&inner);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        if is_earlier {
            self.deadline_changed.notify_one();
        }
        called.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Locks the state for a look at it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic does not leave `with` before the bundle has ended.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, inner: &Inner) {
        let present = inner.stripes.values().filter(|slot| slot.end.is_none());
        let demand = Demand {
            present: present.count(),
            wanted: inner.bundle.stripes_wanted(),
            is_open: inner.bundle.is_open(),
        };
        self.demand
            .send_if_modified(|known| std::mem::replace(known, demand) != demand);
        self.ended.send_if_modified(|known| {
            let is_new = known.is_none() && inner.end.is_some();
            if is_new {
                known.clone_from(&inner.end);
            }
            is_new
        });
    }

    /// Handles what is due, and returns when the next deadline is. `None` if there is none.
    pub(super) fn handle_deadline(&self) -> Option<Instant> {
        self.with(|inner, now| {
            if inner.bundle.poll_timeout().is_some_and(|at| at <= now) {
                inner.bundle.handle_timeout(now);
            }
        });
        let mut inner = self.lock();
        inner.armed = inner.bundle.poll_timeout();
        inner.armed
    }
}

impl Inner {
    /// Transmits and drains events until nothing changes.
    fn settle(&mut self, now: Instant) {
        loop {
            self.drain_events();
            if !self.transmit(now) {
                return;
            }
        }
    }

    /// Fills the stripes that take bytes. Returns true if an event may have followed.
    fn transmit(&mut self, now: Instant) -> bool {
        let mut has_sent = false;
        for (id, slot) in &mut self.stripes {
            if slot.is_writing || slot.output.is_some() {
                continue;
            }
            if let Some(bytes) = self.bundle.poll_transmit(now, *id) {
                slot.sent += bytes.len() as u64;
                slot.output = Some(bytes);
                self.wakers.extend(slot.writer.take());
                has_sent = true;
            }
        }
        has_sent
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.bundle.poll_event() {
            match event {
                Event::Open(id, destination) => self.add_incoming(id, destination),
                Event::Opened(id) => self.set_flow_state(id, FlowState::Open),
                Event::Failed(id, class, text) => {
                    self.set_flow_state(id, FlowState::Failed(class, text));
                }
                Event::Readable(id) => self.wake_flow(id, |slot| &mut slot.reader),
                Event::Writable(id) => self.wake_flow(id, |slot| &mut slot.writer),
                Event::Reset(id) => self.set_flow_state(id, FlowState::Reset),
                // Published after each call.
                Event::StripesWanted(_) => {}
                Event::StripeClosed(id, end) => self.close_stripe(id, end),
                Event::Ended(end) => self.end(end.into()),
            }
        }
    }

    fn add_incoming(&mut self, id: FlowId, destination: Destination) {
        // The bundle no longer counts flows that the daemon has reset.
        if self.incoming.len() >= MAX_KNOWN_FLOWS {
            let text = "too many connections at once".into();
            return self
                .bundle
                .handle_dial_failed(id, FailureClass::Limit, text);
        }
        self.flows.insert(id, FlowSlot::default());
        self.incoming.push_back((id, destination));
        self.wakers.extend(self.incoming_waker.take());
    }

    pub(super) fn set_flow_state(&mut self, id: FlowId, state: FlowState) {
        let Some(slot) = self.flows.get_mut(&id) else {
            return;
        };
        slot.state = state;
        let waiting = [&mut slot.reader, &mut slot.writer, &mut slot.watcher];
        self.wakers
            .extend(waiting.into_iter().filter_map(Option::take));
    }

    fn wake_flow(&mut self, id: FlowId, waker: impl Fn(&mut FlowSlot) -> &mut Option<Waker>) {
        if let Some(slot) = self.flows.get_mut(&id) {
            self.wakers.extend(waker(slot).take());
        }
    }

    fn close_stripe(&mut self, id: StripeId, end: StripeEnd) {
        if let Some(slot) = self.stripes.get_mut(&id) {
            slot.end = Some(end);
            self.wakers.extend(slot.writer.take());
            self.wakers.extend(slot.closer.take());
        }
    }

    /// All flows are reset, also those for which the bundle has no event because it was closed
    /// here.
    fn end(&mut self, end: BundleEnd) {
        self.end.get_or_insert(end);
        self.reset_flows();
        self.incoming.clear();
        self.wakers.extend(self.incoming_waker.take());
    }

    /// Marks all flows as reset.
    pub(super) fn reset_flows(&mut self) {
        let ids: Vec<FlowId> = self.flows.keys().copied().collect();
        for id in ids {
            self.set_flow_state(id, FlowState::Reset);
        }
    }

    /// Replaces a bundle that may be in any state by one that has ended.
    fn end_after_panic(&mut self, now: Instant) {
        self.bundle = Bundle::relay(now, Options::DEFAULT);
        self.bundle.close(now);
        self.end(BundleEnd::Internal);
        let ids: Vec<StripeId> = self.stripes.keys().copied().collect();
        for id in ids {
            self.close_stripe(id, StripeEnd::Unneeded);
        }
    }

    /// Ends a bundle whose driver does not run any longer.
    pub(super) fn abandon(&mut self, now: Instant) {
        if self.end.is_none() {
            self.end_after_panic(now);
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Returns true if the driver would wake up too late.
    fn is_deadline_earlier(&self) -> bool {
        match (self.bundle.poll_timeout(), self.armed) {
            (Some(at), Some(armed)) => at < armed,
            (Some(_), None) => true,
            (None, _) => self.end.is_some(),
        }
    }

    pub(super) fn wait_for_incoming(&mut self, context: &Context<'_>) {
        self.incoming_waker = Some(context.waker().clone());
    }
}
