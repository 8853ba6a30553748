//! The life of an agent's session: from the handshake to its end.

use std::time::{Duration, Instant};

use crate::wire::message::PayloadType;
use crate::wire::payload::HandshakeResponse;

use super::{
    Agent, DestinationEnd, End, Event, Mux, Outcome, Plugin, SingleStream, Version, handshake,
    options,
};

/// Where in its life a session is. The picture is in the header of `mod.rs`.
#[derive(Debug)]
pub(super) enum Phase {
    /// The process of the session starts.
    Launching {
        /// When HandshakeRequest leaves.
        until: Instant,
    },
    /// HandshakeRequest is out.
    Waiting {
        /// When the agent gives up.
        deadline: Instant,
    },
    /// HandshakeComplete is out, and the agent has not marked the handshake as complete: data is
    /// acknowledged and discarded.
    Completing {
        /// When it will have.
        marked: Instant,
    },
    /// HandshakeComplete is out, and the plugin is not ready: nothing is acknowledged.
    Starting {
        /// When it will be.
        ready: Instant,
    },
    /// The first dial of basic mode; as `Starting`.
    Dialling,
    /// Bytes flow.
    Up,
    /// The destination is gone; what it said still leaves (SSH).
    Finishing(End),
    /// The mux is broken: FINs of streams that have not ended leave (protocol.md section 0.2).
    Breaking,
    /// Over; acknowledgements are awaited for a while.
    Ending {
        /// For how long.
        deadline: Instant,
        /// Not before this, until it has passed.
        earliest: Option<Instant>,
        /// How it ended.
        end: End,
    },
    /// The worker is dead; its master has not noticed.
    Crashed {
        /// When it will.
        until: Instant,
        /// What it will report.
        end: End,
    },
    /// `Event::Ended` was given.
    Ended,
}

impl Agent {
    /// The process of the session runs.
    pub(super) fn request_handshake(&mut self, now: Instant) {
        let request = handshake::request(&self.options.version, &self.job);
        self.send(now, PayloadType::HandshakeRequest, &request);
        self.timeline.requested = Some(now);
        let deadline = now + self.options.handshake_timeout;
        self.phase = Phase::Waiting { deadline };
    }

    /// The client answered the handshake.
    pub(super) fn complete_handshake(&mut self, now: Instant, response: HandshakeResponse) {
        let complaint = handshake::complaint(&response);
        self.client_version = response.client_version;
        if let Some(complaint) = complaint {
            self.begin_ending(now, End::failed(complaint));
            return;
        }
        let complete = handshake::complete((now - self.start).as_nanos());
        let marked = now + self.options.handshake_race.draw(&mut self.chance);
        self.send_recorded(now, marked, PayloadType::HandshakeComplete, &complete);
        self.timeline.complete = Some(now);
        let refusal = self.job.refusal.clone();
        match refusal.filter(|_| self.options.version.resolves_at_start()) {
            Some(text) => self.begin_ending(now, End::failed(text)),
            None if marked > now => self.phase = Phase::Completing { marked },
            None => self.start(now),
        }
    }

    /// The handshake is marked as complete, and the plugin starts.
    pub(super) fn start(&mut self, marked: Instant) {
        self.phase = Phase::Starting {
            ready: marked + self.draw_readiness(),
        };
    }

    fn draw_readiness(&mut self) -> Duration {
        let looked_up = match self.job.has_host() {
            true => self.options.host_readiness,
            false => Duration::ZERO,
        };
        options::draw(&self.options.readiness, &mut self.chance) + looked_up
    }

    pub(super) fn start_plugin(&mut self, now: Instant) {
        let client = Version::parse(&self.client_version);
        let version = &self.options.version;
        if self.job.is_port_forwarding() && version.multiplexes(&client) {
            let keep_alive = version.keeps_alive(&client).then_some(now);
            self.plugin = Plugin::Mux(Mux::new(keep_alive));
            self.become_ready(now);
        } else {
            self.plugin = Plugin::Basic(SingleStream::new(&mut self.out));
            self.phase = Phase::Dialling;
        }
    }

    pub(super) fn become_ready(&mut self, now: Instant) {
        self.phase = Phase::Up;
        self.timeline.ready = Some(now);
    }

    pub(super) fn keep_alive(&mut self, now: Instant) {
        let Plugin::Mux(mux) = &mut self.plugin else {
            return;
        };
        if mux.handle_timeout(&mut self.out, now).is_err() {
            self.begin_ending(now, End::failed(""));
        }
    }

    /// The one destination of basic mode has ended.
    pub(super) fn close_basic(&mut self, how: DestinationEnd) {
        if let Plugin::Basic(basic) = &mut self.plugin {
            basic.close(&mut self.out);
        }
        // A payload in hand was not written: it stays unacknowledged and comes again.
        self.in_hand = None;
        if self.job.is_port_forwarding() || !matches!(self.phase, Phase::Up) {
            return;
        }
        self.phase = Phase::Finishing(match how {
            DestinationEnd::Finished => End::success(),
            DestinationEnd::Broken => End::failed(""),
        });
    }

    /// The session is over: destinations close, what is unsent is dropped, and what is
    /// unacknowledged may be acknowledged for a while (protocol.md section 9.3).
    pub(super) fn begin_ending(&mut self, now: Instant, end: End) {
        self.close_destinations();
        let patience = match self.options.version.drains() {
            true => self.options.drain,
            false => Duration::ZERO,
        };
        let deadline = now + patience;
        self.phase = Phase::Ending {
            deadline,
            earliest: None,
            end,
        };
    }

    /// The client's bytes are no frames: the mux sends FIN on its open streams, and the session
    /// ends without a text some milliseconds later.
    pub(super) fn break_mux(&mut self) {
        if let Plugin::Mux(mux) = &mut self.plugin {
            mux.disconnect(&mut self.out);
        }
        self.phase = Phase::Breaking;
    }

    pub(super) fn close_destinations(&mut self) {
        match &mut self.plugin {
            Plugin::None => {}
            Plugin::Mux(mux) => mux.close(&mut self.out),
            Plugin::Basic(basic) => basic.close(&mut self.out),
        }
        self.in_hand = None;
        self.out.outbox.clear();
    }

    /// Goes on with an end whose condition has come.
    pub(super) fn settle(&mut self, now: Instant) {
        if let Phase::Finishing(end) = &self.phase
            && self.out.outbox.is_empty()
        {
            let end = end.clone();
            self.begin_ending(now, end);
        }
        if matches!(self.phase, Phase::Breaking) && self.out.outbox.is_empty() {
            self.begin_ending(now, End::failed(""));
            if let Phase::Ending { earliest, .. } = &mut self.phase {
                *earliest = Some(now + NOTICED);
            }
        }
        let Phase::Ending {
            deadline,
            earliest,
            end,
        } = &mut self.phase
        else {
            return;
        };
        let _passed: Option<Instant> = earliest.take_if(|at| *at <= now);
        let drained = self.control.is_empty() && self.sender.unacknowledged() == 0;
        if earliest.is_none() && (drained || *deadline <= now) {
            let end = end.clone();
            self.end(now, end);
        }
    }

    pub(super) fn end(&mut self, now: Instant, end: End) {
        debug_assert!(end.outcome == Outcome::Failed || end.output.is_empty());
        self.phase = Phase::Ended;
        self.control.clear();
        self.timeline.ended = Some(now);
        self.out.events.push_back(Event::Ended(end));
    }
}

/// From the FINs of a broken mux to the end of the session: measured with the real agent.
const NOTICED: Duration = Duration::from_millis(4);

/// What an agent's master says of a worker that crashed (protocol.md section 7).
pub(super) const CRASHED: &str = "document process failed unexpectedly: ipc messaging received \
    timeout signal , check [ssm-document-worker]/[ssm-session-worker] log for crash reason";
