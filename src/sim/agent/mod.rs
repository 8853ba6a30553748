//! A simulated agent without I/O: handshake, acknowledgements, streams, and its faults.
//!
//! It owns no socket and reads no clock. A driver passes messages, the time, and events of the
//! destinations; the agent returns messages and events:
//!
//! ```text
//!                 handle_message  ┌─────────┐  poll_event: Dial, Write, Close, Ended
//!   service ────────────────────▶ │  Agent  │ ─────────────────────────────────────▶ destinations
//!           ◀──────────────────── │         │ ◀─────────────────────────────────────
//!                  poll_transmit  └─────────┘  handle_dialled, _read, _written, _ended
//! ```
//!
//! Driver loop: after any `handle_*`, drain `poll_event` and `poll_transmit`, then sleep until
//! `poll_timeout` or the next input. While `wants_input` is false the driver must hold messages
//! back, acknowledgements included; likewise `wants_read` for data from a destination. The same
//! seed and the same calls yield the same bytes.
//!
//! ```text
//!   Launching ─▶ Waiting ─ response ─▶ (Completing) ─▶ Starting ─▶ (Dialling: basic mode) ─▶ Up
//!
//!   Waiting ─ 15 s ─▶ Ending                    Up ─ flag 2, an error ─▶ Ending
//!   Dialling ─ refused ─▶ Crashed               Up ─ sshd closed ─▶ Finishing ─▶ Ending
//!   Crashed ─ 34 ms ─▶ Ended                    Up ─ broken mux ─▶ Breaking ─▶ Ending
//!   Ending ─ drained ─▶ Ended
//! ```
//!
//! Specification: docs/protocol.md, sections 5 to 10 and appendix B, "Agent side".

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::wire::message::PayloadType;
use crate::wire::payload::Flag;

mod event;
mod handshake;
mod input;
mod lifecycle;
mod mux;
mod options;
mod outbox;
mod output;
mod pacer;
mod receiver;
mod sender;
mod single_stream;
mod stats;
mod version;

pub use event::{ConnectionId, DestinationEnd, End, Event, Outcome};
use input::PendingWrite;
use lifecycle::{CRASHED, Phase};
use mux::Mux;
pub use options::{Digests, FAITHFUL_INTERVAL, Job, Options, Race, Retransmission, SendRate};
use outbox::Outbox;
use pacer::Pacer;
use receiver::Receiver;
use sender::Sender;
use single_stream::SingleStream;
pub use stats::{Stats, Timeline, Violation};
pub use version::Version;

/// The agent's side of one session.
#[derive(Debug)]
pub struct Agent {
    options: Options,
    job: Job,
    start: Instant,
    /// Milliseconds since the Unix epoch at `start`; never 0, which is not a valid date.
    wall: u64,
    rng: fastrand::Rng,
    phase: Phase,
    plugin: Plugin,
    sender: Sender,
    receiver: Receiver,
    pacer: Pacer,
    out: Out,
    /// Messages that are not paced: acknowledgements, handshake, flags and retransmissions.
    control: VecDeque<Bytes>,
    /// The message whose payload is being written (basic mode).
    pending_write: Option<PendingWrite>,
    connected: bool,
    paused: bool,
    /// The reader is blocked or dead, permanently.
    input_closed: bool,
    client_version: String,
    terminated_by_flag: bool,
    stats: Stats,
    timeline: Timeline,
}

impl Agent {
    /// Creates an agent that joins its session now and sends the handshake request once started.
    ///
    /// `wall` is the wall clock time at `now`.
    pub fn new(now: Instant, wall: SystemTime, seed: u64, options: Options, job: Job) -> Self {
        let since_epoch = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut rng = fastrand::Rng::with_seed(seed);
        let until = now + options::draw(&options.process_start, &mut rng);
        let mut agent = Self {
            start: now,
            wall: millis(since_epoch).max(1),
            rng,
            phase: Phase::Launching { until },
            plugin: Plugin::None,
            sender: Sender::new(options.retransmission),
            receiver: Receiver::default(),
            pacer: Pacer::new(options.pace),
            out: Out::default(),
            control: VecDeque::new(),
            pending_write: None,
            connected: true,
            paused: false,
            input_closed: false,
            client_version: String::new(),
            terminated_by_flag: false,
            stats: Stats::default(),
            timeline: Timeline::default(),
            options,
            job,
        };
        agent.handle_timeout(now);
        agent
    }

    /// Reconnects the agent's own websocket (it is connected initially).
    pub fn handle_connected(&mut self, _now: Instant) {
        self.connected = true;
        self.paused = false;
    }

    /// Disconnects the agent's own websocket: what it sends is lost until it is reconnected, while
    /// its destinations are still read. A message that it had already read may still be passed to
    /// it: the message is processed but cannot be acknowledged (docs/protocol.md, section 6.5).
    pub fn handle_disconnected(&mut self, _now: Instant) {
        self.connected = false;
    }

    /// Handles the timeout. Call at or after [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.phase {
            Phase::Launching { until } if *until <= now => self.request_handshake(*until),
            Phase::Waiting { deadline } if *deadline <= now => {
                self.begin_ending(now, End::failed(handshake::timed_out()));
            }
            Phase::Completing { marked } if *marked <= now => self.start(*marked),
            Phase::Starting { ready } if *ready <= now => self.start_plugin(now),
            Phase::Crashed { until, end } if *until <= now => {
                let end = end.clone();
                self.end(now, end);
            }
            Phase::Up => self.keep_alive(now),
            Phase::Launching { .. }
            | Phase::Waiting { .. }
            | Phase::Completing { .. }
            | Phase::Starting { .. }
            | Phase::Dialling
            | Phase::Finishing(_)
            | Phase::Breaking
            | Phase::Ending { .. }
            | Phase::Crashed { .. }
            | Phase::Ended => {}
        }
        self.retransmit(now);
        self.settle(now);
    }

    /// Handles the termination of the session by Session Manager (TerminateSession or a timeout).
    /// A crashed worker drains nothing, and the session ends without its crash report.
    pub fn handle_channel_closed(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Crashed { .. }) {
            self.end(now, End::success());
        } else if !self.is_over() {
            self.begin_ending(now, End::success());
            self.settle(now);
        }
    }

    /// Crashes the worker: nothing is drained, and the crash is reported after
    /// [`Options::crash_delay`].
    pub fn handle_crash(&mut self, now: Instant) {
        self.crash(now + self.options.crash_delay, End::failed(CRASHED));
    }

    fn crash(&mut self, until: Instant, end: End) {
        if self.has_ended() {
            return;
        }
        self.close_destinations();
        self.control.clear();
        self.phase = Phase::Crashed { until, end };
    }

    /// Handles a successful dial requested by [`Event::Dial`].
    pub fn handle_dialled(&mut self, now: Instant, id: ConnectionId) {
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => mux.dialled(&mut self.out, id, true),
            Plugin::Basic(basic) => {
                basic.connected(&mut self.out, id);
                if matches!(self.phase, Phase::Dialling) {
                    self.become_ready(now);
                }
            }
        }
    }

    /// Handles a failed dial requested by [`Event::Dial`].
    pub fn handle_dial_failed(&mut self, now: Instant, id: ConnectionId) {
        self.stats.dials_failed += 1;
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => {
                mux.dialled(&mut self.out, id, false);
                self.send(now, PayloadType::Flag, &Flag::ConnectToPortError.encode());
            }
            Plugin::Basic(basic) if !basic.is_dialling(id) => {}
            Plugin::Basic(_) if self.options.version.crashes_on_failed_dial() => {
                self.crash(now + self.options.refusal_delay, End::failed(""));
            }
            Plugin::Basic(_) => {
                self.begin_ending(now, End::failed("Unable to connect to specified port"));
            }
        }
    }

    /// Handles data from a destination. Check [`wants_read`](Self::wants_read) first.
    pub fn handle_read(&mut self, id: ConnectionId, data: Bytes) {
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => mux.read(&mut self.out, id, data),
            Plugin::Basic(basic) if basic.is_open(id) => self.out.outbox.push(data),
            Plugin::Basic(_) => {}
        }
    }

    /// Handles the write of `len` bytes from [`Event::Write`] to a destination.
    pub fn handle_written(&mut self, now: Instant, id: ConnectionId, len: usize) {
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => mux.written(&mut self.out, id, len),
            Plugin::Basic(basic) => {
                if basic.written(id, len) {
                    self.acknowledge_written(now);
                }
            }
        }
        self.drain_early(now);
    }

    /// Handles the end of a destination's data or the loss of its connection.
    pub fn handle_ended(&mut self, now: Instant, id: ConnectionId, how: DestinationEnd) {
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => mux.ended(&mut self.out, id),
            Plugin::Basic(basic) if basic.is_open(id) => self.close_single_stream(how),
            Plugin::Basic(_) => {}
        }
        self.drain_early(now);
        self.settle(now);
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.out.events.pop_front()?;
        self.stats.dials += u64::from(matches!(event, Event::Dial(_)));
        Some(event)
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) or poll for a message again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Launching { until } => Some(*until),
            Phase::Waiting { deadline } => Some(*deadline),
            Phase::Completing { marked } => Some(*marked),
            Phase::Ending {
                deadline, earliest, ..
            } => Some(earliest.unwrap_or(*deadline)),
            Phase::Starting { ready } => Some(*ready),
            Phase::Crashed { until, .. } => return Some(*until),
            Phase::Dialling | Phase::Up | Phase::Finishing(_) | Phase::Breaking => None,
            Phase::Ended => return None,
        };
        let keep_alive = match &self.plugin {
            Plugin::Mux(mux) if matches!(self.phase, Phase::Up) => mux.poll_timeout(),
            Plugin::Mux(_) | Plugin::Basic(_) | Plugin::None => None,
        };
        let data = self.pacer.next().filter(|_| self.has_data());
        let again = self.sender.poll_timeout().filter(|_| !self.paused);
        [phase, keep_alive, data, again].into_iter().flatten().min()
    }

    /// Returns true if messages are read. While false, the caller holds them back, in order.
    pub fn wants_input(&self) -> bool {
        if self.is_over() {
            return !self.input_closed;
        }
        !self.input_closed && self.control.len() < MAX_CONTROL && self.has_input_room()
    }

    /// Returns true if the destination may be read.
    pub fn wants_read(&self, id: ConnectionId) -> bool {
        let open = match &self.plugin {
            Plugin::None => false,
            Plugin::Mux(mux) => mux.is_open(id),
            Plugin::Basic(basic) => basic.is_open(id),
        };
        open && self.out.outbox.has_room()
    }

    /// Returns true if [`Event::Ended`] was queued.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Returns true if `host` is resolved again for each stream: agents before 3.2.1041.0.
    pub fn resolves_per_stream(&self) -> bool {
        !self.options.version.resolves_at_start()
    }

    /// Returns the version that the client sent in the handshake; empty before.
    pub fn client_version(&self) -> &str {
        &self.client_version
    }

    /// Returns true if the TerminateSession flag ended the session.
    pub fn is_terminated_by_flag(&self) -> bool {
        self.terminated_by_flag
    }

    /// Returns the counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the times of the milestones passed so far.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Returns the number of messages that the client has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.sender.unacknowledged()
    }

    /// Returns true if the session is ending or has ended.
    fn is_over(&self) -> bool {
        matches!(
            self.phase,
            Phase::Ending { .. } | Phase::Crashed { .. } | Phase::Ended
        )
    }

    fn has_input_room(&self) -> bool {
        match &self.plugin {
            Plugin::None => true,
            Plugin::Mux(mux) => mux.has_room(),
            Plugin::Basic(_) => self.pending_write.is_none() && !self.is_losing_input(),
        }
    }
}

/// The plugin, which runs once the handshake is complete.
#[derive(Debug)]
enum Plugin {
    None,
    Mux(Mux),
    Basic(SingleStream),
}

/// Output of a plugin: events for the driver, and bytes for the client.
#[derive(Debug, Default)]
struct Out {
    events: VecDeque<Event>,
    outbox: Outbox,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Maximum number of queued messages without a pace; beyond it no input is read until the driver
/// has sent some.
const MAX_CONTROL: usize = 16_384;

#[cfg(test)]
mod tests;
