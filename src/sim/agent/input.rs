//! Input handling of an agent: order, meaning and acknowledgement of messages.
//!
//! A message is processed and then acknowledged. Old agents acknowledge and count it first, so that
//! a message they then refuse is lost. An early message is acknowledged on arrival and processed in
//! order; if processing fails, it is lost. If the acknowledgement cannot be sent, because the
//! agent's websocket broke with messages still to read, the message is processed again when it is
//! retransmitted (docs/protocol.md, sections 6.4 and 6.5).

use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;

use crate::wire::message::{DecodeError, Draft, FIN, Message, MessageType, PayloadType, SYN};
use crate::wire::payload::{self, Flag};

use super::receiver::Position;
use super::{Agent, Digests, End, Phase, Plugin, Violation, handshake};

impl Agent {
    /// Handles a message from the client. While [`wants_input`](Self::wants_input) is false the
    /// message is lost, as if dropped by the network.
    pub fn handle_message(&mut self, now: Instant, frame: Bytes) {
        if !self.wants_input() || matches!(self.phase, Phase::Crashed { .. } | Phase::Ended) {
            return;
        }
        let Some(message) = self.decode(frame) else {
            return;
        };
        match &message.header.kind {
            MessageType::Input => {
                self.paused = false;
                self.receive(now, message);
            }
            MessageType::Acknowledge => {
                self.paused = false;
                self.handle_acknowledgement(now, &message.payload);
            }
            MessageType::StartPublication => self.paused = false,
            MessageType::PausePublication => self.paused = true,
            MessageType::ChannelClosed => self.handle_channel_closed(now),
            MessageType::Output | MessageType::AgentSessionState | MessageType::Other(_) => {
                self.stats.note(Violation::UnexpectedKind);
            }
        }
        self.settle(now);
    }

    fn decode(&mut self, frame: Bytes) -> Option<Message> {
        if self.options.digests != Digests::Ignored
            && matches!(Message::decode(frame.clone()), Err(DecodeError::Digest))
        {
            self.stats.note(Violation::BadDigest);
            if self.options.digests == Digests::Required {
                return None;
            }
        }
        let error = match Message::decode_unverified(frame) {
            Ok(message) => return Some(message),
            Err(error) => error,
        };
        let crashes = matches!(error, DecodeError::HeaderLength { got, .. } if got >= 116);
        if crashes {
            self.stats.note(Violation::CrashingHeader);
            self.input_closed = true;
        } else {
            self.stats.note(Violation::Unreadable);
        }
        None
    }

    fn handle_acknowledgement(&mut self, now: Instant, body: &[u8]) {
        self.stats.acknowledgements_in += 1;
        let Ok(body) = payload::decode_acknowledge(body) else {
            self.stats.note(Violation::Unreadable);
            return;
        };
        let known = u64::try_from(body.seq).is_ok_and(|seq| self.sender.acknowledge(now, seq));
        if !known {
            self.stats.note(Violation::UnknownAcknowledgement);
        }
    }

    fn receive(&mut self, now: Instant, message: Message) {
        match self.receiver.place(message.header.seq.0) {
            Position::Expected => self.take(now, message),
            Position::Early => {
                self.stats.early_in += 1;
                if self.receiver.has_room() && self.connected {
                    self.acknowledge(now, &message);
                    self.receiver.keep(message);
                }
            }
            Position::Duplicate => {
                self.stats.duplicates_in += 1;
                if self.options.version.acknowledges_duplicates() {
                    self.acknowledge(now, &message);
                }
            }
        }
    }

    /// Processes the expected message and acknowledges it; old agents acknowledge first.
    fn take(&mut self, now: Instant, message: Message) {
        let owed = match self.options.version.acknowledges_after_processing() {
            true => AckState::Acknowledgement,
            false if self.connected => {
                self.acknowledge(now, &message);
                self.finish(&message);
                AckState::Nothing
            }
            false => return,
        };
        let is_response = message.header.payload_type == PayloadType::HandshakeResponse;
        if self.process(now, message, owed) {
            if is_response {
                self.discard_early();
            }
            self.drain_early(now);
        }
    }

    /// Processes early messages as far as they are in order and can be accepted.
    pub(super) fn drain_early(&mut self, now: Instant) {
        while matches!(
            self.phase,
            Phase::Waiting { .. } | Phase::Completing { .. } | Phase::Up
        ) && self.wants_input()
        {
            let Some(message) = self.receiver.take_expected() else {
                return;
            };
            let mut owed = AckState::Number;
            if !self.options.version.acknowledges_after_processing() {
                self.finish(&message);
                owed = AckState::Nothing;
            }
            // Already acknowledged, so never retransmitted: so it stays stuck, as in real agents,
            // or is lost.
            if !self.process(now, message, owed) {
                return;
            }
        }
    }

    /// Processes a message that is in order. Returns true if it was consumed and acknowledged.
    fn process(&mut self, now: Instant, message: Message, owed: AckState) -> bool {
        match self.consume(now, &message) {
            InputOutcome::Done => self.conclude(now, &message, owed),
            InputOutcome::InHand => {
                self.pending_write = Some(PendingWrite { message, owed });
                false
            }
            InputOutcome::Refused => false,
        }
    }

    /// Completes a consumed message. Returns false if its acknowledgement could not be sent.
    fn conclude(&mut self, now: Instant, message: &Message, owed: AckState) -> bool {
        match owed {
            AckState::Acknowledgement if !self.connected => {
                self.stats.unacknowledged_in += 1;
                return false;
            }
            AckState::Acknowledgement => {
                self.acknowledge(now, message);
                self.finish(message);
            }
            AckState::Number => self.finish(message),
            AckState::Nothing => {}
        }
        true
    }

    /// Discards early messages from before the handshake (docs/protocol.md, section 5.1).
    fn discard_early(&mut self) {
        while let Some(message) = self.receiver.take_expected() {
            self.stats.note(Violation::DataBeforeHandshake);
            self.finish(&message);
        }
    }

    /// Completes the message in hand, whose payload was written.
    pub(super) fn acknowledge_written(&mut self, now: Instant) {
        if let Some(PendingWrite { message, owed }) = self.pending_write.take() {
            self.conclude(now, &message, owed);
        }
    }

    fn finish(&mut self, message: &Message) {
        self.stats.messages_in += 1;
        if message.header.payload_type == PayloadType::Output {
            self.stats.bytes_in += super::count(message.payload.len());
        }
        self.receiver.advance();
    }

    fn consume(&mut self, now: Instant, message: &Message) -> InputOutcome {
        match (message.header.payload_type, &self.phase) {
            (PayloadType::HandshakeResponse, Phase::Waiting { .. }) => {
                let Some(response) = handshake::response(&message.payload) else {
                    self.stats.note(Violation::Unreadable);
                    return InputOutcome::Refused;
                };
                self.complete_handshake(now, response);
                InputOutcome::Done
            }
            (PayloadType::HandshakeResponse, _) => {
                self.stop_reading(Violation::SecondHandshakeResponse)
            }
            (PayloadType::EncChallengeResponse, _) => {
                self.stop_reading(Violation::UnaskedChallenge)
            }
            (_, Phase::Launching { .. } | Phase::Waiting { .. }) => {
                self.stats.note(Violation::DataBeforeHandshake);
                InputOutcome::Done
            }
            // Not a violation, because the client cannot know.
            (_, Phase::Completing { .. }) => {
                self.stats.discarded_in += 1;
                InputOutcome::Done
            }
            (_, Phase::Up) => self.consume_data(now, message),
            // A broken mux continues to acknowledge until the plugin has noticed.
            (
                _,
                Phase::Breaking
                | Phase::Ending {
                    earliest: Some(_), ..
                },
            ) => InputOutcome::Done,
            (_, _) => InputOutcome::Refused,
        }
    }

    fn consume_data(&mut self, now: Instant, message: &Message) -> InputOutcome {
        let payload = &message.payload;
        match message.header.payload_type {
            PayloadType::Output => {
                self.timeline.first_input.get_or_insert(now);
                self.consume_output(payload.clone())
            }
            PayloadType::Flag => {
                self.consume_flag(now, Flag::decode(payload));
                InputOutcome::Done
            }
            // Ignored by port plugins, but acknowledged (docs/protocol.md, section 4.2).
            PayloadType::None
            | PayloadType::Size
            | PayloadType::HandshakeRequest
            | PayloadType::HandshakeResponse
            | PayloadType::HandshakeComplete
            | PayloadType::EncChallengeRequest
            | PayloadType::EncChallengeResponse
            | PayloadType::Other(_) => InputOutcome::Done,
        }
    }

    fn consume_output(&mut self, payload: Bytes) -> InputOutcome {
        match &mut self.plugin {
            Plugin::None => InputOutcome::Refused,
            Plugin::Mux(mux) => {
                if mux.receive(&mut self.out, payload).is_err() {
                    self.stats.note(Violation::BrokenMux);
                    self.break_mux();
                }
                InputOutcome::Done
            }
            Plugin::Basic(_) if payload.is_empty() => InputOutcome::Done,
            Plugin::Basic(basic) => {
                basic.receive(&mut self.out, payload);
                InputOutcome::InHand
            }
        }
    }

    fn consume_flag(&mut self, now: Instant, flag: Option<Flag>) {
        match (flag, &mut self.plugin) {
            (Some(Flag::TerminateSession), _) if self.options.version.knows_terminate_flag() => {
                self.terminated_by_flag = true;
                self.begin_ending(now, End::success());
            }
            (Some(Flag::DisconnectToPort), Plugin::Basic(_)) => {
                self.disconnect_single_stream();
            }
            _ => {}
        }
    }

    /// Stops the reader permanently, as if blocked or dead; everything else continues.
    fn stop_reading(&mut self, violation: Violation) -> InputOutcome {
        self.stats.note(violation);
        self.input_closed = true;
        InputOutcome::Refused
    }

    fn acknowledge(&mut self, now: Instant, message: &Message) {
        let header = self.header(
            now,
            MessageType::Acknowledge,
            0,
            SYN | FIN,
            PayloadType::None,
        );
        let mut draft = Draft::with_capacity(ACKNOWLEDGE_LEN);
        // Sent for every message, so the JSON is written in place; no field needs escaping.
        write!(
            draft.payload(),
            "{{\"AcknowledgedMessageType\":\"{}\",\"AcknowledgedMessageId\":\"{}\",\
             \"AcknowledgedMessageSequenceNumber\":{},\"IsSequentialMessage\":true}}",
            MessageType::Input.as_str(),
            message.header.id,
            message.header.seq
        )
        .expect("writing to a String does not fail");
        self.control.push_back(draft.finish_message(&header));
    }
}

/// A message whose payload is being written (basic mode).
#[derive(Debug)]
pub(super) struct PendingWrite {
    message: Message,
    owed: AckState,
}

/// What remains to be done for a message once it is consumed.
#[derive(Clone, Copy, Debug)]
enum AckState {
    /// Acknowledge it and advance the expected number.
    Acknowledgement,
    /// Advance the expected number.
    Number,
    /// Nothing; both were done before (agents before 3.0.655.0).
    Nothing,
}

/// Result of processing a message that was in order.
enum InputOutcome {
    /// Consumed.
    Done,
    /// Consumed once its payload is written.
    InHand,
    /// Refused; the client has to retransmit it.
    Refused,
}

/// Length of an acknowledgement body with a sequence number of up to 20 digits.
const ACKNOWLEDGE_LEN: usize = 192;
