//! Combines a data channel and its streams in one state machine.

mod access;
mod ends;
mod opening;
mod view;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use self::ends::Ends;
use self::opening::size;
use super::channel::{AckMarker, Channel, ChannelEvent, ReorderBudget, Transmit};
use super::document::ClientSide;
use super::error::Reason;
use super::event::{Event, Options};
use super::inquiry::Inquiry;
use super::keep_alive::KeepAlive;
use super::mux::Mux;
use super::start_check::StartCheck;
use super::state::State;
use super::stats::MessageCounters;
use super::streams::Streams;
use crate::printable::Printable;
use crate::wire::message::Draft;
use crate::wire::payload::Flag;

/// A session's data channel and its streams, without socket and clock.
#[derive(Debug)]
pub struct Tunnel {
    options: Options,
    state: State,
    channel: Channel,
    streams: Streams,
    ends: Ends,
    inquiry: Inquiry,
    keep_alive: KeepAlive,
    start_check: StartCheck,
    client_side: ClientSide,
    events: VecDeque<Event>,
}

impl Tunnel {
    /// Creates a tunnel that waits for its first websocket. `wall` is the wall clock at `now`; the
    /// same seed and the same calls give the same bytes.
    pub fn new(now: Instant, wall: SystemTime, seed: u64, options: Options) -> Self {
        let mut channel = Channel::new(now, wall, seed, options.upload_rate, options.upload_window);
        channel.announce(options.client_version);
        Self {
            options,
            state: State::Opening,
            channel,
            streams: Streams::Mux(Mux::new()),
            ends: Ends::default(),
            inquiry: Inquiry::default(),
            keep_alive: KeepAlive::new(options.keep_alive),
            start_check: StartCheck::new(),
            client_side: ClientSide::default(),
            events: VecDeque::new(),
        }
    }

    /// Creates an ended tunnel, which replaces one whose state is unreliable after a panic.
    pub fn lost(now: Instant, wall: SystemTime, options: Options, why: String) -> Self {
        let mut tunnel = Self::new(now, wall, 0, options);
        tunnel.abandon(why);
        tunnel
    }

    /// Shares the budget for early messages with other tunnels. Only before the first message.
    pub fn sharing(mut self, pool: ReorderBudget) -> Self {
        self.channel.share(pool);
        self
    }

    /// Counts sent messages in `counters` too. Only before the first message.
    pub fn counting(mut self, counters: MessageCounters) -> Self {
        self.channel.count_in(counters);
        self
    }

    /// A websocket is open; `token` is the newest token from Session Manager.
    pub fn handle_connected(&mut self, now: Instant, token: &str) {
        self.channel.handle_connected(now, token);
        self.ends.handle_connected(now);
        self.begin_waiting(now);
        self.probe_again(now);
    }

    /// The websocket has disconnected. Streams accept bytes until their queues are full.
    pub fn handle_disconnected(&mut self, now: Instant) {
        self.channel.handle_disconnected(now);
        self.ends.handle_disconnected();
        if let State::Probing { refused, .. } = &mut self.state {
            *refused = None;
        }
        self.forward_events();
    }

    /// Handles a binary or text frame from Session Manager.
    ///
    /// # Errors
    ///
    /// All errors are final: the tunnel and its streams have ended.
    pub fn handle_message(&mut self, now: Instant, frame: Bytes) -> Result<(), Reason> {
        if let State::Ended(reason) = &self.state {
            return Err(reason.clone());
        }
        let outcome = self.channel.handle_message(now, frame);
        let outcome = self.handle_deliveries(now).and(outcome);
        if let Err(reason) = &outcome {
            if *reason == Reason::Closed && self.channel.is_complete(now) {
                self.streams.handle_end();
            }
            self.end(self.distinguished(reason.clone()));
        }
        self.settle_early();
        self.channel.handle_intake(now, self.wants_input());
        self.assert_invariants();
        match (&self.state, outcome) {
            (State::Ended(reason), Err(_)) => Err(reason.clone()),
            (_, outcome) => outcome,
        }
    }

    fn handle_deliveries(&mut self, now: Instant) -> Result<(), Reason> {
        while let Some(delivery) = self.channel.poll_delivery() {
            match delivery {
                ChannelEvent::Output(bytes) => {
                    self.inquiry.handle_output(now);
                    self.streams.handle_output(bytes)?;
                    self.handle_first_output();
                }
                ChannelEvent::Flag(Flag::ConnectToPortError) => self.streams.handle_refusal(),
                // Not sent to clients (docs/protocol.md, section 4.2).
                ChannelEvent::Flag(
                    Flag::DisconnectToPort | Flag::TerminateSession | Flag::Other(_),
                ) => {}
                ChannelEvent::HandshakeComplete(completed) => {
                    self.begin(completed.document.mode)?;
                    self.probe(now, completed);
                }
                ChannelEvent::Acknowledged(AckMarker::Probe(probe), sent) => {
                    self.handle_probed(now, probe, sent);
                }
                ChannelEvent::Acknowledged(AckMarker::Termination, _) => self.end(Reason::Finished),
            }
        }
        self.forward_events();
        self.confirm_ends(now);
        self.handle_arrivals();
        Ok(())
    }

    fn handle_arrivals(&mut self) {
        if self.channel.sender().is_empty() {
            self.streams.handle_all_arrived();
        }
        self.forward_changes();
    }

    /// Queues an event, unless the tunnel has ended.
    fn emit(&mut self, mut event: Event) {
        if let Event::AckTimeout { suspect, .. } = &mut event {
            *suspect = self.streams.suspect();
        }
        if self.ended().is_none() {
            self.events.push_back(event);
        }
    }

    /// Forwards the events of the channel.
    fn forward_events(&mut self) {
        while let Some(event) = self.channel.poll_event() {
            self.emit(event);
        }
    }

    fn forward_changes(&mut self) {
        while let Some(event) = self.streams.poll_event() {
            self.emit(event);
        }
    }

    /// Handles the passage of time; see [`Tunnel::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Closing { deadline } = self.state
            && deadline <= now
        {
            self.end(Reason::Finished);
        }
        if let State::Probing { settled, .. } = self.state
            && settled.is_some_and(|settled| settled <= now)
        {
            self.handle_ready(false);
        }
        if let State::Probing { refused, .. } = self.state
            && refused.is_some_and(|refused| refused <= now)
        {
            self.end(Reason::NoAnswer);
        }
        self.send_probes(now);
        if self.keep_alive_due().is_some_and(|due| due <= now) {
            self.keep_alive.handle_sent(now);
            match &mut self.streams {
                Streams::Mux(mux) => mux.send_nop(),
                Streams::Single(_) => self.channel.send_size(size()),
            }
        }
        if self.inquiry_due().is_some_and(|due| due <= now) {
            self.inquiry.handle_asked();
            self.channel.send_size(size());
        }
        self.check_start(now);
        self.channel.handle_timeout(now, self.wants_input());
        if self.ended().is_none() {
            self.confirm_ends(now);
            self.forward_changes();
        }
        self.forward_events();
        self.assert_invariants();
    }

    fn keep_alive_due(&self) -> Option<Instant> {
        let is_idle = !self.streams.is_empty() && !self.streams.has_output();
        let idle_since = is_idle.then(|| self.channel.last_sent());
        let due = self.keep_alive.due(idle_since);
        due.filter(|_| matches!(self.state, State::Ready))
    }

    /// Only without a mux: on a mux every stream has an end of its own.
    fn inquiry_due(&self) -> Option<Instant> {
        let is_single = matches!(self.streams, Streams::Single(_)) && !self.streams.is_empty();
        let may_ask = is_single && self.channel.is_connected();
        let due = self.inquiry.due(self.channel.last_sent());
        due.filter(|_| may_ask && matches!(self.state, State::Ready))
    }

    /// Ends the session. The terminate flag is sent; [`Event::Closed`] follows when it is
    /// acknowledged or after a second. Before the handshake is complete the agent cannot read a
    /// flag, and the tunnel ends at once.
    pub fn close(&mut self, now: Instant) {
        match self.state {
            State::Opening => self.end(Reason::Finished),
            State::Probing { .. } | State::Ready => {
                self.channel.send_termination();
                self.state = State::Closing {
                    deadline: now + MAX_CLOSING,
                };
            }
            State::Closing { .. } | State::Ended(_) => {}
        }
    }

    /// Ends the tunnel without the agent, because its driver could not keep the session.
    pub fn abandon(&mut self, why: impl Into<Printable>) {
        self.end(Reason::Lost { why: why.into() });
    }

    fn end(&mut self, reason: Reason) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        self.forward_changes();
        self.state = State::Ended(reason.clone());
        for id in self.streams.ids() {
            self.events.push_back(Event::Readable(id));
            self.events.push_back(Event::Writable(id));
        }
        self.events.push_back(Event::Closed(reason));
    }

    /// Returns the next frame for the websocket. The order is fixed: channel opening,
    /// acknowledgements, control messages, retransmissions, new data of the streams.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if matches!(self.state, State::Ended(_)) {
            return None;
        }
        if let Some(transmit) = self.channel.poll_transmit(now) {
            return Some(transmit);
        }
        let max = self.options.upload_payload;
        if !self.may_send_data() || !self.channel.has_room(now, max, self.streams.share()) {
            return self.channel.poll_question(now, &size());
        }
        let mut draft = Draft::with_capacity(max);
        self.streams
            .fill(&mut draft, max, self.channel.sender().next_seq());
        self.forward_changes();
        self.start_check.handle_sent(now);
        (!draft.is_empty()).then(|| self.channel.send_data(now, draft))
    }

    fn may_send_data(&self) -> bool {
        self.state.may_send_data() && self.streams.has_output()
    }

    /// Returns the next event for the driver and the owners of streams.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`Tunnel::handle_timeout`] or [`Tunnel::poll_transmit`] has something to do,
    /// unless something happens before. May be in the past.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended().is_some() {
            return None;
        }
        let data = (self.options.upload_payload, self.streams.share());
        let channel = self
            .channel
            .poll_timeout(self.may_send_data().then_some(data));
        let times = [
            self.state.deadline(),
            channel,
            self.keep_alive_due(),
            self.inquiry_due(),
            self.start_check_due(),
            self.ends.poll_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    fn assert_invariants(&self) {
        if cfg!(debug_assertions) {
            self.streams.assert_invariants();
            assert!(
                !self.streams.wants_input() || self.channel.is_early_settled(),
                "early messages that were read use no buffer space"
            );
            let over = self
                .channel
                .sender()
                .unacknowledged()
                .saturating_sub(self.options.upload_window);
            assert!(
                over <= CONTROL_ALLOWANCE,
                "the window counts unacknowledged bytes"
            );
        }
    }
}

/// Maximum wait for the flag's acknowledgement; the session is also terminated through the API.
const MAX_CLOSING: Duration = Duration::from_secs(1);

/// Handshake, probes and flag are sent outside the window; their payloads are small.
const CONTROL_ALLOWANCE: usize = 1024;
