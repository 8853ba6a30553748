//! One direction of a stream: a bounded queue of bytes, its end, and who waits for it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::time::{Sleep, sleep_until};

use super::route::{Reach, Route};
use crate::clock;

/// One direction of a stream.
#[derive(Debug)]
pub(super) struct Pipe {
    route: Arc<Route>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes with the time at which they arrive.
    segments: VecDeque<(Option<Instant>, Bytes)>,
    queued: usize,
    end: End,
    /// The reading side is gone: nothing reads any more.
    is_abandoned: bool,
    /// Nothing arrives any more, whatever the route.
    is_lost: bool,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
    /// Until the first segment arrives.
    arrival: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// After the queued bytes.
    Finished,
    Reset,
}

impl Pipe {
    pub(super) fn new(route: &Arc<Route>) -> Arc<Self> {
        let pipe = Arc::new(Self {
            route: Arc::clone(route),
            state: Mutex::default(),
        });
        route.add(&pipe);
        pipe
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self, state: &State) -> bool {
        state.is_lost || self.route.reach() == Reach::Silent
    }

    fn observes(&self, what: impl FnOnce(&State) -> bool) -> bool {
        let state = self.lock();
        !self.is_silent(&state) && what(&state)
    }

    /// Makes the pipe a black hole for ever.
    pub(super) fn lose(&self) {
        self.lock().is_lost = true;
    }

    /// Returns the bytes that can be read now, at most `max`; empty at the end of the pipe.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        let mut state = self.lock();
        match self.poll_arrival(&mut state, cx) {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) => return Poll::Ready(Ok(Bytes::new())),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let (_, segment) = state.segments.front_mut().expect("it has arrived");
        let bytes = segment.split_to(segment.len().min(max));
        if !segment.has_remaining() {
            state.segments.pop_front();
        }
        state.queued -= bytes.len();
        let wakers = std::mem::take(&mut state.writers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(bytes))
    }

    /// Waits until a byte can be read: false at the end of the pipe.
    pub(super) fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.poll_arrival(&mut self.lock(), cx)
    }

    fn poll_arrival(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let is_silent = self.is_silent(state);
        if !is_silent && state.end == End::Reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match state.segments.front() {
            Some((arrival, _)) if !is_silent => match arrival.filter(|at| *at > clock::now()) {
                None => return Poll::Ready(Ok(true)),
                Some(at) => {
                    let mut sleep = Box::pin(sleep_until(at.into()));
                    if sleep.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ok(true));
                    }
                    state.arrival = Some(sleep);
                }
            },
            None if !is_silent && state.end == End::Finished => return Poll::Ready(Ok(false)),
            Some(_) | None => {}
        }
        register(&mut state.readers, cx.waker());
        Poll::Pending
    }

    /// Queues what there is room for, and returns how much.
    pub(super) fn poll_write(&self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if !self.is_silent(&state) {
            if state.end == End::Reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if state.is_abandoned {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        if state.end == End::Finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let len = data.len().min(CAPACITY.saturating_sub(state.queued));
        if len == 0 && !data.is_empty() {
            register(&mut state.writers, cx.waker());
            return Poll::Pending;
        }
        let latency = self.route.latency();
        let arrival = (!latency.is_zero()).then(|| clock::now() + latency);
        let bytes = Bytes::copy_from_slice(&data[..len]);
        state.segments.push_back((arrival, bytes));
        state.queued += len;
        Self::wake(state);
        Poll::Ready(Ok(len))
    }

    /// Ends the pipe after the queued bytes.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        if state.end == End::Open {
            state.end = End::Finished;
        }
        Self::wake(state);
    }

    /// Ends the pipe at once; queued bytes are lost.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.end = End::Reset;
        state.segments.clear();
        state.queued = 0;
        Self::wake(state);
    }

    /// Records that the reading side is gone. Returns true if it left bytes unread.
    pub(super) fn abandon(&self) -> bool {
        let mut state = self.lock();
        state.is_abandoned = true;
        let is_unread = state.queued > 0 && state.end != End::Reset;
        Self::wake(state);
        is_unread
    }

    /// Returns true if the writing side can observe that the reading side is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.observes(|state| state.is_abandoned)
    }

    /// Returns true if a reset can be observed.
    pub(super) fn is_reset(&self) -> bool {
        self.observes(|state| state.end == End::Reset)
    }

    /// Returns true if the reading side can observe that the writing side has ended.
    pub(super) fn is_ended(&self) -> bool {
        self.observes(|state| state.end != End::Open)
    }

    /// Returns the number of bytes that were written and not read.
    pub(super) fn queued(&self) -> usize {
        self.lock().queued
    }

    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        state.end == End::Open && !state.is_abandoned
    }

    /// Removes and returns the wakers of both sides.
    pub(super) fn wakers(&self) -> Vec<Waker> {
        let mut state = self.lock();
        let mut wakers = std::mem::take(&mut state.readers);
        wakers.append(&mut state.writers);
        wakers
    }

    fn wake(mut state: MutexGuard<'_, State>) {
        let mut wakers = std::mem::take(&mut state.readers);
        wakers.append(&mut state.writers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Adds a waker, unless it is registered already.
pub(super) fn register(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

/// Bytes in flight in one direction, as much as the buffers of a socket.
const CAPACITY: usize = 128 * 1024;
