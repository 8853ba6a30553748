//! Handling of incoming messages: decoding, ordering, dispatch and acknowledgement.

use std::time::Instant;

use bytes::Bytes;
use tracing::{debug, trace};

use super::Channel;
use super::ack_watchdog::WatchdogState;
use super::event::{AckMarker, ChannelEvent, PendingAck};
use super::rate_limit_detector::RateVerdict;
use super::receiver::{Item, ReceiveOutcome};
use crate::proto::error::Reason;
use crate::proto::event::Event;
use crate::wire::message::{Header, Message, MessageType, PayloadType, Seq};
use crate::wire::payload::{self, Flag};

impl Channel {
    /// Handles a frame.
    ///
    /// # Errors
    ///
    /// If it is invalid, if the handshake fails, or if Session Manager closes the channel.
    pub(crate) fn handle_message(&mut self, now: Instant, frame: Bytes) -> Result<(), Reason> {
        let message = match Message::decode(frame) {
            Ok(message) => message,
            Err(error) => return self.handle_damaged(error.into()),
        };
        trace!(%message, "received");
        match message.header.kind {
            MessageType::Output => self.handle_output(now, message),
            MessageType::Acknowledge => self.handle_acknowledge(now, &message.payload),
            MessageType::ChannelClosed => Err(Reason::closed(&message.payload)),
            MessageType::PausePublication => {
                self.publication.pause(now);
                let _lowered = self.lower_rate(now);
                Ok(())
            }
            MessageType::StartPublication => {
                self.publication.start();
                Ok(())
            }
            // An echo of ours, or not for clients: both references ignore it.
            MessageType::Input | MessageType::AgentSessionState | MessageType::Other(_) => Ok(()),
        }
    }

    /// Ignores an invalid frame, as both references do: it is not acknowledged, so it is sent again
    /// if it matters. The error is final before the handshake, and beyond [`MAX_DAMAGED`].
    fn handle_damaged(&mut self, reason: Reason) -> Result<(), Reason> {
        self.stats.damaged += 1;
        let is_agent = self.handshake.is_begun() && self.stats.damaged <= MAX_DAMAGED;
        debug!(%reason, is_agent, "received an invalid frame");
        if is_agent { Ok(()) } else { Err(reason) }
    }

    /// The websocket broke.
    pub(super) fn handle_break(&mut self, now: Instant) {
        let recent = self.pacer.recent(now);
        match self.detector.classify(now, recent) {
            RateVerdict::Suspected => {
                if self.lower_rate(now) {
                    self.detector.record_lowered(now, recent);
                }
            }
            RateVerdict::Cleared => self.pacer.restore(),
            RateVerdict::Unchanged => {}
        }
    }

    /// Lowers the send rate after signs of rate limiting (docs/protocol.md, section 0.1). Returns
    /// true if the rate was lowered.
    fn lower_rate(&mut self, now: Instant) -> bool {
        let lowered = self.pacer.lower_rate(now);
        self.events
            .extend(lowered.map(|rate| Event::RateLowered { rate }));
        lowered.is_some()
    }

    fn handle_acknowledge(&mut self, now: Instant, body: &[u8]) -> Result<(), Reason> {
        let body = match payload::decode_acknowledge(body) {
            Ok(body) => body,
            Err(error) => {
                return self.handle_damaged(Reason::unreadable("acknowledgement", &error));
            }
        };
        let Ok(seq) = u64::try_from(body.seq) else {
            return Ok(());
        };
        // Nothing arrived if the message was acknowledged before or never sent.
        if self.sender.acknowledge(now, Seq(seq)) {
            self.pacer.handle_arrival(now);
            self.silence = WatchdogState::default();
            self.progress += u64::from(self.accounts.is_data(Seq(seq)));
            let arrived = self.control.handle_arrival(Seq(seq));
            if matches!(arrived, Some((AckMarker::Probe(_), _))) {
                self.hasten_probe(now);
            }
            self.deliveries
                .extend(arrived.map(|(mark, sent)| ChannelEvent::Acknowledged(mark, sent)));
        }
        Ok(())
    }

    fn handle_output(&mut self, now: Instant, message: Message) -> Result<(), Reason> {
        let Message {
            header:
                Header {
                    created,
                    seq,
                    id,
                    payload_type,
                    ..
                },
            payload,
        } = message;
        self.publication.start();
        let (is_new, mut next) = match self.receiver.receive(
            seq,
            Item {
                payload_type,
                payload,
            },
        ) {
            ReceiveOutcome::Refused => {
                self.stats.refused += 1;
                return Ok(());
            }
            ReceiveOutcome::Duplicate => {
                self.stats.duplicates += 1;
                (false, None)
            }
            ReceiveOutcome::Early => {
                self.stats.received += 1;
                self.stats.early += 1;
                self.tail_check.handle_message(now, created);
                (true, None)
            }
            ReceiveOutcome::Deliver(item) => {
                self.stats.received += 1;
                self.progress += 1;
                self.tail_check.handle_message(now, created);
                (true, Some(item))
            }
        };
        // Duplicates too: the first acknowledgement may have been lost, and the agent retransmits
        // until it has one.
        self.acknowledgements
            .push_back(PendingAck { seq, id, is_new });
        self.accounts.unanswered += usize::from(is_new);
        while let Some(item) = next {
            self.deliver(item)?;
            next = self.receiver.poll_early();
        }
        Ok(())
    }

    fn deliver(&mut self, item: Item) -> Result<(), Reason> {
        match item.payload_type {
            PayloadType::Output if self.handshake.is_complete() => {
                self.deliveries
                    .push_back(ChannelEvent::Output(item.payload));
            }
            PayloadType::Output => return Err(Reason::no_handshake()),
            PayloadType::Flag => {
                if let Some(flag) = Flag::decode(&item.payload) {
                    self.deliveries.push_back(ChannelEvent::Flag(flag));
                }
            }
            PayloadType::HandshakeRequest => {
                if let Some(response) = self.handshake.handle_request(&item.payload)? {
                    self.control
                        .put(PayloadType::HandshakeResponse, response, None);
                }
            }
            PayloadType::HandshakeComplete => {
                let completed = self.handshake.handle_complete(&item.payload)?;
                self.reacknowledges = completed.version.acknowledges_duplicates();
                self.accounts.handle_version(&completed.version);
                self.deliveries
                    .push_back(ChannelEvent::HandshakeComplete(completed));
            }
            PayloadType::EncChallengeRequest => return Err(Reason::encryption()),
            // Acknowledged, but without meaning in a port session (docs/protocol.md, section 4.2).
            PayloadType::None
            | PayloadType::Size
            | PayloadType::HandshakeResponse
            | PayloadType::EncChallengeResponse
            | PayloadType::Other(_) => {}
        }
        Ok(())
    }
}

/// Maximum number of invalid frames tolerated on a channel.
const MAX_DAMAGED: u64 = 16;
