//! The data channel: reliable, ordered message transport in both directions.
//!
//! The channel numbers, keeps and retransmits outgoing messages, orders and acknowledges incoming
//! ones, and performs the handshake. The payloads of a running session are interpreted by the
//! tunnel, which takes [`ChannelEvent`]s and returns payloads.
//!
//! ```text
//!   frame ─▶ decode ─▶ receiver ─▶ handshake | ChannelEvent     (and an acknowledgement)
//!   payload ─▶ number ─▶ sender, until acknowledged ─▶ frame    (when the pacer permits)
//! ```
//!
//! Specification: docs/protocol.md, sections 3, 5 and 6.

mod accounts;
mod ack_watchdog;
mod congestion;
mod control;
mod encoder;
mod event;
mod handshake;
mod input;
mod pacer;
mod publication;
mod rate_limit_detector;
mod receiver;
mod rtt;
mod sender;
mod tail_check;
pub(super) mod version;

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use self::accounts::Accounts;
use self::ack_watchdog::{Intake, WatchdogState};
use self::control::{Control, ControlMessage};
use self::encoder::MessageEncoder;
pub use self::event::Transmit;
pub(crate) use self::event::{AckMarker, ChannelEvent};
use self::event::{MAX_ACKNOWLEDGEMENTS, PendingAck};
pub(crate) use self::handshake::Completed;
use self::handshake::Handshake;
use self::pacer::Pacer;
use self::publication::Publication;
use self::rate_limit_detector::RateLimitDetector;
use self::receiver::Receiver;
pub use self::receiver::ReorderBudget;
pub(crate) use self::sender::Share;
use self::sender::{Retransmit, Sender};
use self::tail_check::TailCheck;
pub use self::version::ClientVersion;
use crate::proto::event::Event;
use crate::proto::stats::{MessageCounters, Stats};
use crate::wire::message::{Draft, PayloadType};

/// A data channel without its websocket.
#[derive(Debug)]
pub(crate) struct Channel {
    encoder: MessageEncoder,
    sender: Sender,
    receiver: Receiver,
    tail_check: TailCheck,
    accounts: Accounts,
    pacer: Pacer,
    detector: RateLimitDetector,
    handshake: Handshake,
    /// True if the agent acknowledges duplicates of messages that it has processed.
    reacknowledges: bool,
    /// False before the first websocket and while disconnected.
    connected: bool,
    /// First frame to send on a new websocket.
    opening: Option<String>,
    acknowledgements: VecDeque<PendingAck>,
    control: Control,
    publication: Publication,
    silence: WatchdogState,
    input: Intake,
    /// When a sequenced message was last sent for the first time.
    last_sent: Instant,
    deliveries: VecDeque<ChannelEvent>,
    /// Events for the driver. Not among the deliveries, which are taken after messages only.
    events: VecDeque<Event>,
    /// New in-order messages received plus data messages acknowledged.
    progress: u64,
    stats: Stats,
    counters: MessageCounters,
}

impl Channel {
    /// Creates a channel. `wall` is the wall clock at `now`; `rate` is in messages per second;
    /// `window` is the maximum of unacknowledged payload bytes.
    pub(crate) fn new(now: Instant, wall: SystemTime, seed: u64, rate: u32, window: usize) -> Self {
        Self {
            encoder: MessageEncoder::new(now, wall, seed),
            sender: Sender::new(now, window),
            receiver: Receiver::new(ReorderBudget::new()),
            tail_check: TailCheck::default(),
            accounts: Accounts::default(),
            pacer: Pacer::new(now, rate),
            detector: RateLimitDetector::new(now),
            handshake: Handshake::new(),
            reacknowledges: true,
            connected: false,
            opening: None,
            acknowledgements: VecDeque::new(),
            control: Control::default(),
            publication: Publication::default(),
            silence: WatchdogState::default(),
            input: Intake::default(),
            last_sent: now,
            deliveries: VecDeque::new(),
            events: VecDeque::new(),
            progress: 0,
            stats: Stats::default(),
            counters: MessageCounters::default(),
        }
    }

    /// Sets the client version to send. Only before the first message.
    pub(crate) fn announce(&mut self, version: ClientVersion) {
        self.encoder.announce(version);
        self.handshake.announce(version);
    }

    /// Shares the budget for early messages with other channels. Only before the first message.
    pub(crate) fn share(&mut self, pool: ReorderBudget) {
        self.receiver = Receiver::new(pool);
    }

    /// Counts messages in `counters` too. Only before the first message.
    pub(crate) fn count_in(&mut self, counters: MessageCounters) {
        self.counters = counters;
    }

    /// A websocket is open. The first frame on it opens the channel with `token`.
    pub(crate) fn handle_connected(&mut self, now: Instant, token: &str) {
        self.opening = Some(self.encoder.opening(token));
        self.connected = true;
        self.tail_check.handle_connected(now);
        self.detector.handle_connected(now);
        self.publication = Publication::default();
        self.sender.handle_connected(now);
        #[cfg(test)]
        self.sender.count_twice_if_mutant();
        // A silence that began on an earlier websocket continues.
        if self.sender.silent_since().is_none_or(|since| since == now) {
            self.silence = WatchdogState::default();
        }
    }

    /// Returns true while there is a websocket.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// The websocket has disconnected; messages sent on it may be lost.
    pub(crate) fn handle_disconnected(&mut self, now: Instant) {
        if self.connected {
            self.handle_break(now);
        }
        self.connected = false;
        self.opening = None;
    }

    /// Time has passed. `wants_input` is false while nothing is read from the websocket.
    pub(crate) fn handle_timeout(&mut self, now: Instant, wants_input: bool) {
        self.handle_intake(now, wants_input);
        self.publication.handle_timeout(now);
        self.pacer.handle_timeout(now);
        if self.connected {
            self.sender.handle_timeout(now);
            let event = self.silence.poll(now, self.silent_since());
            self.events.extend(event);
        }
    }

    /// Records whether input is read. An agent does not count as silent while we do not read.
    pub(crate) fn handle_intake(&mut self, now: Instant, wants_input: bool) {
        self.input.handle(now, wants_input);
    }

    /// Returns since when the agent has acknowledged nothing although we read.
    fn silent_since(&self) -> Option<Instant> {
        let since = self.sender.silent_since()?;
        Some(
            self.input
                .refused_until()
                .map_or(since, |until| since.max(until)),
        )
    }

    /// Queues a payload that the agent ignores. It is repeated at short intervals until it is
    /// acknowledged, which is reported as [`AckMarker::Probe`].
    pub(crate) fn send_probe(&mut self, probe: u32, payload_type: PayloadType, payload: Bytes) {
        self.control
            .put(payload_type, payload, Some(AckMarker::Probe(probe)));
    }

    /// Drops the probes that are queued, and no longer reports acknowledgements of those that were
    /// sent. The latter are retransmitted like data.
    pub(crate) fn withdraw_probes(&mut self) {
        self.control.withdraw_probes();
        self.sender.relax();
    }

    /// The agent processes what it acknowledges. From now on, a missing acknowledgement of a
    /// message it received has only one meaning; before, it refuses some.
    pub(crate) fn handle_ready(&mut self) {
        self.withdraw_probes();
        self.accounts.handle_ready(self.sender.next_seq());
        self.sender.set_reacknowledges(self.reacknowledges);
    }

    /// Returns the next frame other than new data: channel opening, acknowledgements, control
    /// messages, retransmissions.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if !self.connected {
            return None;
        }
        if let Some(opening) = self.opening.take() {
            return Some(Transmit::Opening(opening));
        }
        if let Some(due) = self.acknowledgements.pop_front() {
            if due.is_new {
                self.accounts.handle_answer(now);
            }
            return Some(Transmit::Message(
                self.encoder.acknowledgement(now, due.seq, due.id),
            ));
        }
        if self.publication.resumes().is_some() {
            return None;
        }
        let message = self
            .next_control(now)
            .or_else(|| self.retransmission(now))?;
        Some(Transmit::Message(message))
    }

    /// Returns the next control message. They are few and bypass the pacer, except for sizes: a
    /// delayed flag would come too late.
    fn next_control(&mut self, now: Instant) -> Option<Bytes> {
        if self.control.waits_for_slot() && now < self.pacer.next() {
            return None;
        }
        let ControlMessage {
            payload_type,
            payload,
            mark,
        } = self.control.pop(now, self.sender.next_seq())?;
        let mut draft = Draft::with_capacity(payload.len());
        draft.payload().extend_from_slice(&payload);
        let message = self.send(now, draft, payload_type, Retransmit::Normal);
        if matches!(mark, Some(AckMarker::Probe(_))) {
            self.hasten_probe(now);
        }
        Some(message)
    }

    /// Repeats the oldest probe at short intervals: it is the one that an agent refuses. Copies of
    /// the others would only load the path.
    pub(super) fn hasten_probe(&mut self, now: Instant) {
        if let Some(seq) = self.control.oldest_probe() {
            self.sender.hasten_probe(now, seq);
        }
    }

    fn retransmission(&mut self, now: Instant) -> Option<Bytes> {
        if now < self.pacer.next() {
            return None;
        }
        let message = self.sender.poll_retransmit(now)?;
        self.stats.retransmitted += 1;
        self.counters.count_retransmitted();
        self.pacer.take(now);
        Some(message)
    }

    /// Returns a message without effect, if a missing acknowledgement of an old agent must be
    /// interpreted. Only called when there is no data to send, which has the same effect.
    pub(crate) fn poll_question(&mut self, now: Instant, payload: &[u8]) -> Option<Transmit> {
        if !self.connected || !self.sender.wants_question() || !self.may_send(now) {
            return None;
        }
        self.sender.handle_question();
        let mut draft = Draft::with_capacity(payload.len());
        draft.payload().extend_from_slice(payload);
        let message = self.send(now, draft, PayloadType::Size, Retransmit::Normal);
        Some(Transmit::Message(message))
    }

    /// Returns true if a data payload of up to `len` bytes may be sent now.
    pub(crate) fn has_room(&mut self, now: Instant, len: usize, share: Share) -> bool {
        let fits = self.sender.has_room(len, share);
        if !fits {
            self.sender.on_limited();
        }
        fits && self.connected && self.may_send(now)
    }

    /// Sends a payload of mux data. Only after [`Channel::has_room`] returned true.
    pub(crate) fn send_data(&mut self, now: Instant, draft: Draft) -> Transmit {
        self.accounts.handle_data(self.sender.next_seq());
        Transmit::Message(self.send(now, draft, PayloadType::Output, Retransmit::Normal))
    }

    fn send(
        &mut self,
        now: Instant,
        draft: Draft,
        kind: PayloadType,
        retransmit: Retransmit,
    ) -> Bytes {
        let len = draft.len();
        let message = self.encoder.input(now, self.sender.next_seq(), kind, draft);
        self.sender.send(now, message.clone(), len, retransmit);
        self.pacer.take(now);
        self.last_sent = now;
        self.stats.sent += 1;
        self.counters.count_sent();
        message
    }

    fn may_send(&self, now: Instant) -> bool {
        self.publication.resumes().is_none() && self.pacer.next() <= now
    }

    /// Returns the next event for the tunnel, in order.
    pub(crate) fn poll_delivery(&mut self) -> Option<ChannelEvent> {
        self.deliveries.pop_front()
    }

    /// Returns the next event to pass on to the driver.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`Channel::handle_timeout`] or [`Channel::poll_transmit`] has something to do.
    /// `data` is the maximum length of data that the streams would send, if they have any.
    pub(crate) fn poll_timeout(&self, data: Option<(usize, Share)>) -> Option<Instant> {
        if !self.connected {
            return None;
        }
        if let Some(until) = self.publication.resumes() {
            return Some(until);
        }
        let fits = data.is_some_and(|(len, share)| self.sender.has_room(len, share));
        let eager = self.sender.has_due()
            || self.sender.wants_question()
            || self.control.waits_for_slot()
            || fits;
        let paced = eager.then(|| self.pacer.next());
        [
            paced,
            self.sender.poll_timeout(),
            self.silence.due(self.silent_since()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns false while the queue of acknowledgements is full.
    pub(crate) fn wants_input(&self) -> bool {
        self.acknowledgements.len() < MAX_ACKNOWLEDGEMENTS
    }

    /// Returns budget for early messages to the pool: at most `unread` bytes are waiting beyond the
    /// limit of their streams.
    pub(crate) fn settle_early(&mut self, unread: usize) {
        self.receiver.settle(unread);
    }

    /// Returns true if released early messages no longer take budget of the pool.
    pub(crate) fn is_early_settled(&self) -> bool {
        self.receiver.is_settled()
    }

    /// Returns when a sequenced message was last sent for the first time.
    pub(crate) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    /// Returns the messages that were sent and are not yet acknowledged.
    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Returns the number of new in-order messages received plus data messages acknowledged.
    pub(crate) fn progress(&self) -> u64 {
        self.progress
    }

    /// Returns the counters, without the stream bytes, which are counted by the streams.
    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }
}
