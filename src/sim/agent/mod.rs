//! An agent of Session Manager as a value: handshake, acknowledgements, streams, and its faults.
//!
//! It owns no socket and reads no clock. A driver hands it messages, the time, and what its
//! destinations did; it answers with messages and events:
//!
//! ```text
//!                 handle_message  ┌─────────┐  poll_event: Dial, Write, Close, Ended
//!   service ────────────────────▶ │  Agent  │ ─────────────────────────────────────▶ destinations
//!           ◀──────────────────── │         │ ◀─────────────────────────────────────
//!                  poll_transmit  └─────────┘  handle_dialled, _read, _written, _ended
//! ```
//!
//! The loop: after any `handle_*`, drain `poll_event` and `poll_transmit`, then sleep until
//! `poll_timeout` or the next input. While `wants_input` is false messages are held back by the
//! driver, for the agent reads nothing then, acknowledgements included; the same holds for
//! `wants_read` and what a destination says. The same seed and the same calls give the same bytes.
//!
//! ```text
//!  Launching ─ process runs ─▶ Waiting
//!  Waiting ─ response ─▶ (Completing) ─▶ Starting ─ ready ─▶ Up ─ flag 2, an error ─▶ Ending ─ drained ─▶ Ended
//!     └─ 15 s ─▶ Ending                      │ (basic: Dialling)  ├─ sshd closed ─▶ Finishing ─┤           ▲
//!                                            │                    └─ broken mux ─▶ Breaking ───┘           │
//!                                            └──────── refused dial in basic mode ─▶ Crashed ─ 34 ms ───────┘
//! ```
//!
//! Specification: protocol.md sections 5 to 10 and appendix B, "Agent side".

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
pub use options::{Digests, FAITHFUL_INTERVAL, Job, Options, Pace, Race, Retransmission};
use outbox::Outbox;
use pacer::Pacer;
use receiver::Receiver;
use sender::Sender;
use single_stream::SingleStream;
pub use stats::{Stats, Timeline, Violation};
pub use version::Version;

/// One agent's side of one session.
#[derive(Debug)]
pub struct Agent {
    options: Options,
    job: Job,
    start: Instant,
    /// Milliseconds since the Unix epoch at `start`; not 0, which no date may be.
    wall: u64,
    chance: fastrand::Rng,
    phase: Phase,
    plugin: Plugin,
    sender: Sender,
    receiver: Receiver,
    pacer: Pacer,
    out: Out,
    /// Acknowledgements, the handshake, flags, and what goes again: all that knows no pace.
    control: VecDeque<Bytes>,
    /// The message in hand whose payload is not yet written (basic mode).
    in_hand: Option<PendingWrite>,
    connected: bool,
    paused: bool,
    /// The reader is blocked or dead, for good.
    deaf: bool,
    client_version: String,
    terminated_by_flag: bool,
    stats: Stats,
    timeline: Timeline,
}

impl Agent {
    /// An agent that joins its session now and asks for the handshake at once.
    ///
    /// `wall` is the wall clock at `now`.
    pub fn new(now: Instant, wall: SystemTime, seed: u64, options: Options, job: Job) -> Self {
        let since_epoch = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut chance = fastrand::Rng::with_seed(seed);
        let until = now + options::draw(&options.process_start, &mut chance);
        let mut agent = Self {
            start: now,
            wall: millis(since_epoch).max(1),
            chance,
            phase: Phase::Launching { until },
            plugin: Plugin::None,
            sender: Sender::new(options.retransmission),
            receiver: Receiver::default(),
            pacer: Pacer::new(options.pace),
            out: Out::default(),
            control: VecDeque::new(),
            in_hand: None,
            connected: true,
            paused: false,
            deaf: false,
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

    /// The agent's own websocket is up again (it is from the beginning).
    pub fn handle_connected(&mut self, _now: Instant) {
        self.connected = true;
        self.paused = false;
    }

    /// The agent's own websocket broke: what it sends is lost until it is up again, and its
    /// destinations are read on. A message that it had read by then may still be handed to it: it
    /// is processed and cannot be acknowledged (protocol.md section 6.5).
    pub fn handle_disconnected(&mut self, _now: Instant) {
        self.connected = false;
    }

    /// Time has come to [`poll_timeout`](Self::poll_timeout), or passed it.
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

    /// The service ends the session: TerminateSession was called, or its time is over. A dead
    /// worker drains nothing; the service does not wait until it is missed.
    pub fn handle_channel_closed(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Crashed { .. }) {
            self.end(now, End::success());
        } else if !self.is_over() {
            self.begin_ending(now, End::success());
            self.settle(now);
        }
    }

    /// The worker dies: no drain, and no word for [`Options::crash_delay`].
    pub fn handle_death(&mut self, now: Instant) {
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

    /// A dial that [`Event::Dial`] asked for has succeeded.
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

    /// A dial that [`Event::Dial`] asked for has failed.
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

    /// A destination said something. Ask [`wants_read`](Self::wants_read) before.
    pub fn handle_read(&mut self, id: ConnectionId, data: Bytes) {
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => mux.read(&mut self.out, id, data),
            Plugin::Basic(basic) if basic.is_open(id) => self.out.outbox.push(data),
            Plugin::Basic(_) => {}
        }
    }

    /// A destination took `len` bytes of what [`Event::Write`] gave it.
    pub fn handle_written(&mut self, now: Instant, id: ConnectionId, len: usize) {
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => mux.written(&mut self.out, id, len),
            Plugin::Basic(basic) => {
                if basic.written(id, len) {
                    self.take_from_hand(now);
                }
            }
        }
        self.drain_early(now);
    }

    /// A destination ended its side, or its connection broke.
    pub fn handle_ended(&mut self, now: Instant, id: ConnectionId, how: DestinationEnd) {
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => mux.ended(&mut self.out, id),
            Plugin::Basic(basic) if basic.is_open(id) => self.close_basic(how),
            Plugin::Basic(_) => {}
        }
        self.drain_early(now);
        self.settle(now);
    }

    /// The next thing to do with a destination, or the end.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.out.events.pop_front()?;
        self.stats.dials += u64::from(matches!(event, Event::Dial(_)));
        Some(event)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), or poll for a message again.
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

    /// Whether messages are read. While they are not, the caller holds them back, in order.
    pub fn wants_input(&self) -> bool {
        if self.is_over() {
            return !self.deaf;
        }
        !self.deaf && self.control.len() < MAX_CONTROL && self.has_input_room()
    }

    /// Whether a destination is read.
    pub fn wants_read(&self, id: ConnectionId) -> bool {
        let open = match &self.plugin {
            Plugin::None => false,
            Plugin::Mux(mux) => mux.is_open(id),
            Plugin::Basic(basic) => basic.is_open(id),
        };
        open && self.out.outbox.has_room()
    }

    /// Whether [`Event::Ended`] was given.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether `host` is looked up anew for each stream: true of agents before 3.2.1041.0.
    pub fn resolves_per_stream(&self) -> bool {
        !self.options.version.resolves_at_start()
    }

    /// The version that the client claimed in the handshake; empty before.
    pub fn client_version(&self) -> &str {
        &self.client_version
    }

    /// Whether the TerminateSession flag ended the session.
    pub fn is_terminated_by_flag(&self) -> bool {
        self.terminated_by_flag
    }

    /// What was counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What was passed so far.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// How many messages the client has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.sender.unacknowledged()
    }

    /// Whether the session is over and only its end is awaited.
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
            Plugin::Basic(_) => self.in_hand.is_none(),
        }
    }
}

/// What runs once the handshake is complete.
#[derive(Debug)]
enum Plugin {
    None,
    Mux(Mux),
    Basic(SingleStream),
}

/// What a plugin produces: words for the driver, and bytes for the client.
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

/// Messages without a pace that may wait to leave; beyond it, a driver that does not send what
/// is there gets nothing read either.
const MAX_CONTROL: usize = 16_384;

#[cfg(test)]
mod tests;
