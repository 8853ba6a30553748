//! From the handshake to a tunnel that is ready: what the payloads carry, and a probe that proves
//! that somebody takes them.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Tunnel;
use crate::proto::channel::{AgentVersion, Mode};
use crate::proto::error::Reason;
use crate::proto::event::Event;
use crate::proto::single::Single;
use crate::proto::state::State;
use crate::proto::streams::Streams;
use crate::wire::message::PayloadType;
use crate::wire::smux::{Command, Header, StreamId};

impl Tunnel {
    pub(super) fn begin(&mut self, mode: Mode) -> Result<(), Reason> {
        match mode {
            Mode::Mux => {}
            Mode::Single if self.options.shared => return Err(Reason::not_shared()),
            Mode::Single => self.streams = Streams::Single(Single::new()),
        }
        Ok(())
    }

    pub(super) fn probe(&mut self, now: Instant, version: AgentVersion, notice: String) {
        if !notice.trim().is_empty() {
            self.tell(Event::Notice(notice));
        }
        let is_single = matches!(self.streams, Streams::Single(_));
        if version.needs_keep_alive() && !is_single {
            self.keep_alive.satisfy_agent(now);
        }
        if matches!(self.state, State::Opening) {
            self.state = State::Probing {
                agent_version: version.to_string(),
                settled: (!version.proves_readiness()).then(|| now + SETTLING),
                refused: None,
            };
            self.begin_waiting(now);
            match self.streams {
                Streams::Mux(_) => self.channel.send_probe(PayloadType::Output, nothing()),
                Streams::Single(_) => self.channel.send_probe(PayloadType::Size, size()),
            }
        }
    }

    /// An agent without a mux dials before anything else, so one that is silent was refused.
    pub(super) fn begin_waiting(&mut self, now: Instant) {
        if let (State::Probing { refused, .. }, Streams::Single(_)) =
            (&mut self.state, &self.streams)
        {
            *refused = Some(now + MAX_SILENCE);
        }
    }

    pub(super) fn handle_probed(&mut self) {
        if let State::Probing { settled: None, .. } = &self.state {
            self.handle_ready();
        }
    }

    pub(super) fn handle_ready(&mut self) {
        if let State::Probing { agent_version, .. } = &mut self.state {
            let agent_version = std::mem::take(agent_version);
            self.state = State::Ready;
            self.tell(Event::Ready { agent_version });
        }
    }
}

/// A NOP frame: acknowledged like data, and without any effect.
fn nothing() -> Bytes {
    Bytes::copy_from_slice(&Header::bare(Command::Nothing, StreamId(0)).encode())
}

/// The size of a terminal: as a frame that says nothing, where there are no frames (protocol.md
/// section 11.3 item 6).
pub(super) fn size() -> Bytes {
    Bytes::from_static(br#"{"cols":80,"rows":24}"#)
}

/// How long the agent may be silent after the handshake before its dial counts as refused.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// How long agents are waited for that cannot prove that they are ready: twice what one with a
/// remote host was seen to take (protocol.md section 5.1).
const SETTLING: Duration = Duration::from_secs(1);
