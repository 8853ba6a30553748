//! One data channel: messages in, messages out.
//!
//! The channel numbers, keeps and retransmits what leaves, puts into order and acknowledges what
//! comes, and carries the handshake. What the payloads of a running session mean is left to the
//! tunnel, which takes [`ChannelEvent`]s and hands back payloads.
//!
//! ```text
//!   frame ─▶ decode ─▶ receiver ─▶ handshake | Delivery         (and an acknowledgement)
//!   payload ─▶ number ─▶ sender, until acknowledged ─▶ frame    (when the pacer says so)
//! ```
//!
//! Specification: protocol.md sections 3, 5 and 6.

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
mod version;

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use self::accounts::Accounts;
use self::ack_watchdog::{Intake, Silence};
use self::control::{Control, Word};
use self::encoder::MessageEncoder;
pub use self::event::Transmit;
pub(crate) use self::event::{AckMarker, ChannelEvent};
use self::event::{MAX_ACKNOWLEDGEMENTS, PendingAck};
use self::handshake::Handshake;
pub(crate) use self::handshake::Mode;
use self::pacer::Pacer;
use self::publication::Publication;
use self::rate_limit_detector::RateLimitDetector;
use self::receiver::Receiver;
pub use self::receiver::ReorderBudget;
pub(crate) use self::sender::Share;
use self::sender::{Sender, Urgency};
use self::tail_check::TailCheck;
pub(crate) use self::version::AgentVersion;
pub use self::version::ClientVersion;
use crate::proto::stats::Stats;
use crate::wire::message::{Draft, PayloadType};
use crate::wire::payload::Flag;

/// One data channel, without its websocket.
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
    /// The agent acknowledges a message again that it has processed.
    reacknowledges: bool,
    /// False before the first websocket, and while it is broken.
    connected: bool,
    /// What must leave before anything else on a new websocket.
    opening: Option<String>,
    acknowledgements: VecDeque<PendingAck>,
    control: Control,
    publication: Publication,
    silence: Silence,
    input: Intake,
    /// When a sequenced message left for the first time.
    last_sent: Instant,
    deliveries: VecDeque<ChannelEvent>,
    /// New messages that came in order, and messages of data that were acknowledged.
    progress: u64,
    stats: Stats,
}

impl Channel {
    /// `wall` is the wall clock at `now`; `rate` messages per second and `window` unacknowledged
    /// payload bytes may leave.
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
            silence: Silence::default(),
            input: Intake::default(),
            last_sent: now,
            deliveries: VecDeque::new(),
            progress: 0,
            stats: Stats::default(),
        }
    }

    /// Claims another version of the client. Only before the first message.
    pub(crate) fn claim(&mut self, version: ClientVersion) {
        self.encoder.claim(version);
        self.handshake.claim(version);
    }

    /// Keeps early messages in a pool with other channels. Only before the first message.
    pub(crate) fn share(&mut self, pool: ReorderBudget) {
        self.receiver = Receiver::new(pool);
    }

    /// A websocket is open. The channel is opened on it with `token` before anything else.
    pub(crate) fn handle_connected(&mut self, now: Instant, token: &str) {
        self.opening = Some(self.encoder.opening(token));
        self.connected = true;
        self.tail_check.handle_connected(now);
        self.detector.handle_connected(now);
        self.publication = Publication::default();
        self.sender.handle_connected(now);
        // A silence that outlives its websocket goes on.
        if self.sender.silent_since().is_none_or(|since| since == now) {
            self.silence = Silence::default();
        }
    }

    /// Whether there is a websocket.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// The websocket is gone; what it carried may be lost.
    pub(crate) fn handle_disconnected(&mut self, now: Instant) {
        if self.connected {
            self.handle_break(now);
        }
        self.connected = false;
        self.opening = None;
    }

    /// Time has passed. `wants_input` is false while we take nothing from the websocket.
    pub(crate) fn handle_timeout(&mut self, now: Instant, wants_input: bool) {
        self.handle_intake(now, wants_input);
        self.publication.handle_timeout(now);
        self.pacer.handle_timeout(now);
        if self.connected {
            self.sender.handle_timeout(now);
            let news = self.silence.poll(now, self.silent_since());
            self.deliveries.extend(news.map(ChannelEvent::Tell));
        }
    }

    /// Notes whether we take input. An agent is not silent while we refuse to read it.
    pub(crate) fn handle_intake(&mut self, now: Instant, wants_input: bool) {
        self.input.handle(now, wants_input);
    }

    /// Since when the agent acknowledges nothing although we read.
    fn silent_since(&self) -> Option<Instant> {
        let since = self.sender.silent_since()?;
        Some(
            self.input
                .refused_until()
                .map_or(since, |until| since.max(until)),
        )
    }

    /// Puts a payload in line that the agent ignores, and repeats it quickly until it is
    /// acknowledged: then [`AckMarker::Probe`] has arrived.
    pub(crate) fn send_probe(&mut self, probe: u32, payload_type: PayloadType, payload: Bytes) {
        self.control
            .put(payload_type, payload, Some(AckMarker::Probe(probe)));
    }

    /// Forgets the probes that have not left, and those whose acknowledgement is awaited. Those
    /// that have left are repeated like data.
    pub(crate) fn withdraw_probes(&mut self) {
        self.control.withdraw_probes();
        self.sender.relax();
    }

    /// The agent processes what it acknowledges. From now on its silence about a message that it got
    /// has one meaning; before, it refuses some.
    pub(crate) fn handle_ready(&mut self) {
        self.withdraw_probes();
        self.accounts.handle_ready(self.sender.next_seq());
        self.sender.set_reacknowledges(self.reacknowledges);
    }

    /// Puts the size of a terminal in line, which agents of a port acknowledge and ignore
    /// (protocol.md section 4.2). Only one waits at a time, and it waits for a slot.
    pub(crate) fn send_size(&mut self, payload: Bytes) {
        self.control.put_size(payload);
    }

    /// Puts the flag that ends the session in line; once it is acknowledged,
    /// [`AckMarker::Termination`] has arrived.
    pub(crate) fn send_termination(&mut self) {
        let flag = Bytes::copy_from_slice(&Flag::TerminateSession.encode());
        self.control
            .put(PayloadType::Flag, flag, Some(AckMarker::Termination));
    }

    /// The next thing to send, but for new data: the opening, acknowledgements, our own messages,
    /// what must be retransmitted.
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
        let message = self.word(now).or_else(|| self.retransmission(now))?;
        Some(Transmit::Message(message))
    }

    /// The next message of our own. They are few, and but for sizes wait for no slot: a flag that
    /// does comes too late.
    fn word(&mut self, now: Instant) -> Option<Bytes> {
        if self.control.waits_for_slot() && now < self.pacer.next() {
            return None;
        }
        let Word {
            payload_type,
            payload,
            mark,
        } = self.control.pop(now, self.sender.next_seq())?;
        let mut draft = Draft::with_capacity(payload.len());
        draft.payload().extend_from_slice(&payload);
        let message = self.send(now, draft, payload_type, Urgency::Patient);
        if matches!(mark, Some(AckMarker::Probe(_))) {
            self.hasten_probe(now);
        }
        Some(message)
    }

    /// Repeats the oldest probe quickly: the one that an agent refuses. Copies of the others would
    /// only fill the path.
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
        self.pacer.take(now);
        Some(message)
    }

    /// A message without meaning, if the silence of an old agent must be judged. Only when there is
    /// no data to send, which does the same.
    pub(crate) fn poll_question(&mut self, now: Instant, payload: &[u8]) -> Option<Transmit> {
        if !self.connected || !self.sender.wants_question() || !self.may_send(now) {
            return None;
        }
        self.sender.handle_question();
        let mut draft = Draft::with_capacity(payload.len());
        draft.payload().extend_from_slice(payload);
        let message = self.send(now, draft, PayloadType::Size, Urgency::Patient);
        Some(Transmit::Message(message))
    }

    /// True if a data payload of up to `len` bytes may leave now.
    pub(crate) fn has_room(&mut self, now: Instant, len: usize, share: Share) -> bool {
        let fits = self.sender.has_room(len, share);
        if !fits {
            self.sender.hold_back();
        }
        fits && self.connected && self.may_send(now)
    }

    /// Sends a payload of mux data. Only after [`Channel::has_room`] said yes.
    pub(crate) fn send_data(&mut self, now: Instant, draft: Draft) -> Transmit {
        self.accounts.handle_data(self.sender.next_seq());
        Transmit::Message(self.send(now, draft, PayloadType::Output, Urgency::Patient))
    }

    fn send(&mut self, now: Instant, draft: Draft, kind: PayloadType, urgency: Urgency) -> Bytes {
        let len = draft.len();
        let message = self.encoder.input(now, self.sender.next_seq(), kind, draft);
        self.sender.send(now, message.clone(), len, urgency);
        self.pacer.take(now);
        self.last_sent = now;
        self.stats.sent += 1;
        message
    }

    fn may_send(&self, now: Instant) -> bool {
        self.publication.resumes().is_none() && self.pacer.next() <= now
    }

    /// What came for the tunnel, in order.
    pub(crate) fn poll_delivery(&mut self) -> Option<ChannelEvent> {
        self.deliveries.pop_front()
    }

    /// When [`Channel::handle_timeout`] or [`Channel::poll_transmit`] has something to do.
    /// `data` tells how much the mux would send at most if it could.
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

    /// False while so many acknowledgements wait that more input would only pile them up.
    pub(crate) fn wants_input(&self) -> bool {
        self.acknowledgements.len() < MAX_ACKNOWLEDGEMENTS
    }

    /// Gives room in the pool of early messages back, because no more than `unread` bytes wait beyond
    /// the bound of their streams.
    pub(crate) fn settle_early(&mut self, unread: usize) {
        self.receiver.settle(unread);
    }

    /// Whether released early messages take no room in the pool.
    pub(crate) fn is_early_settled(&self) -> bool {
        self.receiver.is_settled()
    }

    /// When a sequenced message left last, for the first time.
    pub(crate) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    /// What has left and is not yet acknowledged.
    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// New messages that came in order, and messages of data that were acknowledged.
    pub(crate) fn progress(&self) -> u64 {
        self.progress
    }

    /// What was counted; the bytes of streams are the mux's to count.
    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }
}
