//! Start of a tunnel, from the handshake to ready: the kind of its payloads, and probes that show
//! that the agent processes them.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Tunnel;
use crate::proto::channel::Completed;
use crate::proto::document::Mode;
use crate::proto::error::Reason;
use crate::proto::event::Event;
use crate::proto::readiness::Readiness;
use crate::proto::single_stream::SingleStream;
use crate::proto::state::State;
use crate::proto::streams::Streams;
use crate::wire::message::PayloadType;
use crate::wire::smux::{Command, Header, StreamId};

impl Tunnel {
    pub(super) fn begin(&mut self, mode: Mode) -> Result<(), Reason> {
        match mode {
            Mode::Mux => {}
            Mode::Single if self.options.shared => return Err(Reason::not_shared()),
            Mode::Single => self.streams = Streams::Single(SingleStream::new()),
        }
        Ok(())
    }

    pub(super) fn probe(&mut self, now: Instant, completed: Completed) {
        let Completed {
            version,
            document,
            notice,
        } = completed;
        if !notice.is_empty() {
            self.emit(Event::Notice(notice));
        }
        self.client_side = document.client_side;
        let is_single = matches!(self.streams, Streams::Single(_));
        if version.needs_keep_alive() && !is_single {
            self.keep_alive.satisfy_agent(now);
        }
        if matches!(self.state, State::Opening) {
            self.state = State::Probing {
                agent_version: version.text().clone(),
                destination: document.destination,
                readiness: Readiness::new(now, !is_single),
                settled: (!version.proves_readiness()).then(|| now + SETTLING),
                refused: None,
            };
            self.begin_waiting(now);
            self.send_probes(now);
        }
    }

    pub(super) fn send_probes(&mut self, now: Instant) {
        let State::Probing { readiness, .. } = &mut self.state else {
            return;
        };
        while let Some(probe) = readiness.poll_probe(now) {
            let (payload_type, payload) = match self.streams {
                Streams::Mux(_) => (PayloadType::Output, nothing()),
                Streams::Single(_) => (PayloadType::Size, size()),
            };
            self.channel.send_probe(probe, payload_type, payload);
        }
    }

    /// A new websocket is open: the probes of the old one no longer count. A tunnel that was ready
    /// requests an acknowledgement, which shows that the session works on this websocket, unless
    /// one is outstanding anyway.
    pub(super) fn probe_again(&mut self, now: Instant) {
        if let State::Probing { readiness, .. } = &mut self.state {
            readiness.handle_connected(now);
            self.channel.withdraw_probes();
            self.send_probes(now);
        } else if matches!(self.state, State::Ready) && self.channel.sender().is_empty() {
            self.channel.send_size(size());
        }
    }

    /// An agent without a mux dials first, so if it stays silent its dial was refused.
    pub(super) fn begin_waiting(&mut self, now: Instant) {
        if let (State::Probing { refused, .. }, Streams::Single(_)) =
            (&mut self.state, &self.streams)
        {
            *refused = Some(now + MAX_SILENCE);
        }
    }

    /// A probe first sent at `sent` was acknowledged.
    pub(super) fn handle_probed(&mut self, now: Instant, probe: u32, sent: Instant) {
        if let State::Probing {
            settled: None,
            readiness,
            ..
        } = &mut self.state
            && readiness.handle_answer(now, probe, sent)
        {
            let is_proved = readiness.is_proved();
            self.handle_ready(is_proved);
        }
    }

    /// The agent sent bytes of its destination, which it reads only after everything else is ready.
    pub(super) fn handle_first_output(&mut self) {
        if matches!(self.streams, Streams::Single(_)) {
            self.handle_ready(true);
        }
    }

    /// Distinguishes a refused dial from other closes: an agent without a mux dials first, so one
    /// that closes before it sent or acknowledged anything was refused.
    pub(super) fn distinguished(&self, reason: Reason) -> Reason {
        let is_probing = matches!(self.state, State::Probing { .. });
        let is_single = matches!(self.streams, Streams::Single(_));
        if reason == Reason::Closed && is_probing && is_single {
            Reason::ClosedAtOnce
        } else {
            reason
        }
    }

    /// The agent is assumed to be ready; this is certain if `is_proved`.
    pub(super) fn handle_ready(&mut self, is_proved: bool) {
        if let State::Probing {
            agent_version,
            destination,
            ..
        } = &mut self.state
        {
            if let (Streams::Mux(mux), false) = (&mut self.streams, is_proved) {
                mux.enter_discard_phase();
            }
            let (agent_version, destination) = (std::mem::take(agent_version), destination.take());
            self.channel.handle_ready();
            self.state = State::Ready;
            self.emit(Event::Ready {
                agent_version,
                destination,
            });
        }
    }
}

impl Tunnel {
    /// Returns when a message must follow those that the agent may have discarded.
    pub(super) fn start_check_due(&self) -> Option<Instant> {
        let doubts = matches!(&self.streams, Streams::Mux(mux) if mux.may_discard());
        let due = self.start_check.due().filter(|_| doubts);
        due.filter(|_| matches!(self.state, State::Ready))
    }

    pub(super) fn check_start(&mut self, now: Instant) {
        if self.start_check_due().is_some_and(|due| due <= now)
            && let Streams::Mux(mux) = &mut self.streams
        {
            mux.send_nop();
            if !self.start_check.handle_asked(now) {
                mux.leave_discard_phase();
            }
        }
    }
}

/// A NOP frame: acknowledged like data, without any effect.
fn nothing() -> Bytes {
    Bytes::copy_from_slice(&Header::bare(Command::Nop, StreamId(0)).encode())
}

/// A terminal size, used instead of a NOP where there are no frames (docs/protocol.md,
/// section 11.3 item 6).
pub(super) fn size() -> Bytes {
    Bytes::from_static(br#"{"cols":80,"rows":24}"#)
}

/// Time without any message after the handshake until the agent's dial counts as refused.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// Wait for agents that cannot show that they are ready: twice the longest time observed with a
/// remote host (docs/protocol.md, section 5.1).
const SETTLING: Duration = Duration::from_secs(1);
