//! Lifecycle of an agent's session, from the handshake to its end.

use std::time::{Duration, Instant};

use crate::wire::message::PayloadType;
use crate::wire::payload::HandshakeResponse;

use super::{
    Agent, DestinationEnd, End, Event, Mux, Outcome, Plugin, SingleStream, Version, handshake,
    options,
};

/// State of a session. See the diagram in `mod.rs`.
#[derive(Debug)]
pub(super) enum Phase {
    /// The session process is starting.
    Launching {
        /// When HandshakeRequest is sent.
        until: Instant,
    },
    /// HandshakeRequest was sent.
    Waiting {
        /// When the agent gives up.
        deadline: Instant,
    },
    /// HandshakeComplete was sent, but the agent has not marked the handshake as complete: data is
    /// acknowledged and discarded.
    Completing {
        /// When the handshake is marked as complete.
        marked: Instant,
    },
    /// HandshakeComplete was sent, but the plugin is not ready: nothing is acknowledged.
    Starting {
        /// When the plugin is ready.
        ready: Instant,
    },
    /// The first dial of basic mode; behaves like `Starting`.
    Dialling,
    /// Data is forwarded.
    Up,
    /// The destination has ended; its remaining data is sent (SSH).
    Finishing(End),
    /// The mux is broken: FINs are sent for all open streams (docs/protocol.md, section 0.2).
    Breaking,
    /// The session is over; the agent waits for acknowledgements.
    Ending {
        /// When the agent stops waiting.
        deadline: Instant,
        /// Earliest time of the end; `None` once passed.
        earliest: Option<Instant>,
        /// Result of the session.
        end: End,
    },
    /// The worker has crashed; its master has not noticed.
    Crashed {
        /// When the master notices.
        until: Instant,
        /// The result that it reports.
        end: End,
    },
    /// `Event::Ended` was queued.
    Ended,
}

impl Agent {
    /// Sends the handshake request once the session process runs.
    pub(super) fn request_handshake(&mut self, now: Instant) {
        let request = handshake::request(&self.options.version, &self.job);
        self.send(now, PayloadType::HandshakeRequest, &request);
        self.timeline.requested = Some(now);
        let deadline = now + self.options.handshake_timeout;
        self.phase = Phase::Waiting { deadline };
    }

    /// Handles the handshake response of the client.
    pub(super) fn complete_handshake(&mut self, now: Instant, response: HandshakeResponse) {
        let rejection = handshake::rejection(&response);
        self.client_version = response.client_version;
        if let Some(text) = rejection {
            self.begin_ending(now, End::failed(text));
            return;
        }
        let complete = handshake::complete((now - self.start).as_nanos());
        let marked = now + self.options.handshake_race.draw(&mut self.rng);
        self.send_recorded(now, marked, PayloadType::HandshakeComplete, &complete);
        self.timeline.complete = Some(now);
        let refusal = self.job.refusal.clone();
        match refusal.filter(|_| self.options.version.resolves_at_start()) {
            Some(text) => self.begin_ending(now, End::failed(text)),
            None if marked > now => self.phase = Phase::Completing { marked },
            None => self.start(now),
        }
    }

    /// Starts the plugin after the handshake was marked as complete. Port forwarding without a mux
    /// has nothing to set up: it dials at once (docs/protocol.md, section 7).
    pub(super) fn start(&mut self, marked: Instant) {
        let readiness = self.draw_readiness();
        if self.dials_at_once() {
            self.start_plugin(marked);
        } else {
            let ready = marked + readiness;
            self.phase = Phase::Starting { ready };
        }
    }

    fn dials_at_once(&self) -> bool {
        let version = &self.options.version;
        self.job.is_port_forwarding()
            && !version.acknowledges_after_processing()
            && !version.multiplexes(&Version::parse(&self.client_version))
    }

    /// Returns true during the first dial of an agent that acknowledges a message before it
    /// processes it. In port forwarding its clients have nothing to send until a program connects
    /// to them, which takes longer than this dial. On loopback it may not, so their messages are
    /// held back instead of being lost.
    pub(super) fn is_losing_input(&self) -> bool {
        matches!(self.phase, Phase::Dialling)
            && self.job.is_port_forwarding()
            && !self.options.version.acknowledges_after_processing()
    }

    fn draw_readiness(&mut self) -> Duration {
        let looked_up = match self.job.has_host() {
            true => self.options.host_readiness,
            false => Duration::ZERO,
        };
        options::draw(&self.options.readiness, &mut self.rng) + looked_up
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

    /// Closes the destination because the client closed its connection. Output that no message
    /// carries yet is discarded.
    pub(super) fn disconnect_single_stream(&mut self) {
        self.out.outbox.clear();
        self.close_single_stream(DestinationEnd::Broken);
    }

    /// Handles the end of the only destination in basic mode.
    pub(super) fn close_single_stream(&mut self, how: DestinationEnd) {
        if let Plugin::Basic(basic) = &mut self.plugin {
            basic.close(&mut self.out);
        }
        // A payload in hand was not written: it stays unacknowledged and is retransmitted.
        self.pending_write = None;
        if self.job.is_port_forwarding() || !matches!(self.phase, Phase::Up) {
            return;
        }
        self.phase = Phase::Finishing(match how {
            DestinationEnd::Finished => End::success(),
            DestinationEnd::Broken => End::failed(""),
        });
    }

    /// Begins to end the session: destinations are closed, unsent data is dropped, and the client
    /// may acknowledge for a while (docs/protocol.md, section 9.3).
    pub(super) fn begin_ending(&mut self, now: Instant, end: End) {
        self.close_destinations();
        let drain_time = match self.options.version.drains() {
            true => self.options.drain,
            false => Duration::ZERO,
        };
        let deadline = now + drain_time;
        self.phase = Phase::Ending {
            deadline,
            earliest: None,
            end,
        };
    }

    /// Handles invalid frames from the client: the mux sends FIN on its open streams, and the
    /// session ends a few milliseconds later without a text.
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
        self.pending_write = None;
        self.out.outbox.clear();
    }

    /// Completes the end of the session if its conditions are met.
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
                *earliest = Some(now + BROKEN_MUX_DELAY);
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

/// Time from the FINs of a broken mux to the end of the session, measured with the real agent.
const BROKEN_MUX_DELAY: Duration = Duration::from_millis(4);

/// Text of an agent's master about a crashed worker (docs/protocol.md, section 7).
pub(super) const CRASHED: &str = "document process failed unexpectedly: ipc messaging received \
    timeout signal , check [ssm-document-worker]/[ssm-session-worker] log for crash reason";
