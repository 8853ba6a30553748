//! Conditions on the way to an address, for all of its streams, present and future.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use super::pipe::Pipe;

/// Conditions of an address.
#[derive(Debug, Default)]
pub struct Route(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    reach: Reach,
    latency: Duration,
    /// Both directions of its streams.
    pipes: Vec<Weak<Pipe>>,
}

/// Whether an address can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Streams connect and carry bytes.
    #[default]
    Open,
    /// New streams are refused; present ones are not affected.
    Refused,
    /// A black hole: nothing arrives in either direction, no reset and no end either. What was sent
    /// meanwhile arrives when the route is open again.
    Silent,
}

impl Route {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the address can be reached.
    pub fn reach(&self) -> Reach {
        self.lock().reach
    }

    /// Returns the time that a byte takes.
    pub fn latency(&self) -> Duration {
        self.lock().latency
    }

    /// Sets the time that bytes take which are written from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Sets whether the address can be reached.
    pub fn set_reach(&self, reach: Reach) {
        self.lock().reach = reach;
        let pipes = self.pipes();
        let wakers: Vec<_> = pipes.iter().flat_map(|pipe| pipe.wakers()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Resets all streams. Both sides notice it, unless the route is silent.
    pub fn cut(&self) {
        let pipes = self.pipes();
        pipes.iter().for_each(|pipe| pipe.reset());
    }

    /// Makes all present streams black holes for ever, as a router does that has forgotten them.
    pub fn lose_streams(&self) {
        self.pipes().iter().for_each(|pipe| pipe.lose());
    }

    /// Returns the number of open streams.
    pub fn open_streams(&self) -> usize {
        self.pipes().iter().filter(|pipe| pipe.is_open()).count()
    }

    pub(super) fn add(&self, pipe: &Arc<Pipe>) {
        let mut state = self.lock();
        state.pipes.retain(|pipe| pipe.strong_count() > 0);
        state.pipes.push(Arc::downgrade(pipe));
    }

    fn pipes(&self) -> Vec<Arc<Pipe>> {
        self.lock().pipes.iter().filter_map(Weak::upgrade).collect()
    }
}
