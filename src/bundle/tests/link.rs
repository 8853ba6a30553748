//! A simulated byte stream between the two ends: slow, delayed, stalled, cut anywhere.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::bundle::handshake::HandshakeDecoder;
use crate::bundle::ids::StripeId;

/// Quality of a byte stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quality {
    /// Bytes per second.
    pub(super) rate: u64,
    /// One way.
    pub(super) delay: Duration,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Pipe {
    quality: Quality,
    queue: VecDeque<(Instant, Bytes)>,
    /// When everything before is on the way.
    free_at: Instant,
    pub(super) stalled_until: Instant,
    /// True if the receiver is told that the stream has ended, after what is in the queue.
    pub(super) is_cut: bool,
}

impl Pipe {
    fn new(now: Instant, quality: Quality) -> Self {
        Self {
            quality,
            queue: VecDeque::new(),
            free_at: now,
            stalled_until: now,
            is_cut: false,
        }
    }

    /// Returns when bytes are accepted: the buffer of the socket holds what is sent in 10 ms.
    pub(super) fn writable_at(&self) -> Instant {
        self.free_at - BUFFER
    }

    pub(super) fn write(&mut self, now: Instant, bytes: Bytes) {
        if self.is_cut {
            return;
        }
        let time = bytes.len() as u64 * 1_000_000 / self.quality.rate;
        self.free_at = self.free_at.max(now) + Duration::from_micros(time);
        self.queue
            .push_back((self.free_at + self.quality.delay, bytes));
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let (at, _) = self.queue.front()?;
        Some((*at).max(self.stalled_until))
    }

    pub(super) fn read(&mut self, now: Instant) -> Option<Bytes> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.queue.pop_front().map(|(_, bytes)| bytes)
    }

    /// Cuts the stream after `len` bytes that are on the way.
    pub(super) fn cut(&mut self, mut len: usize) {
        self.is_cut = true;
        for (_, bytes) in &mut self.queue {
            bytes.truncate(len);
            len -= bytes.len();
        }
        self.queue.retain(|(_, bytes)| !bytes.is_empty());
    }

    pub(super) fn on_the_way(&self) -> usize {
        self.queue.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

/// A byte stream between daemon (0) and relay (1).
#[derive(Debug)]
pub(super) struct Link {
    /// The stripe at each end; `None` after it was removed there, and before HELLO.
    pub(super) stripes: [Option<StripeId>; 2],
    /// The direction towards each end.
    pub(super) towards: [Pipe; 2],
    pub(super) hello: HandshakeDecoder,
}

impl Link {
    pub(super) fn new(now: Instant, stripe: StripeId, quality: Quality) -> Self {
        Self {
            stripes: [Some(stripe), None],
            towards: [Pipe::new(now, quality), Pipe::new(now, quality)],
            hello: HandshakeDecoder::default(),
        }
    }

    /// Returns when something happens on this link by itself.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        let arrivals = self.towards.iter().filter_map(Pipe::next_arrival);
        let writable = self.towards.iter().map(Pipe::writable_at);
        arrivals.chain(writable.filter(|at| *at > now)).min()
    }
}

const BUFFER: Duration = Duration::from_millis(10);
