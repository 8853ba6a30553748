//! The driver of a pair: the work of one instant, and the choice of the next instant.

use std::time::Instant;

use ssm_proxyd::proto::{Event, Transmit};
use ssm_proxyd::sim::agent::{self, ConnectionId};
use ssm_proxyd::wire::payload;

use super::{Pair, Service};
use crate::support::agent_destination::{Dial, State};
use crate::support::message_builder;

impl Pair {
    /// Does the work of this instant until there is none left.
    pub(crate) fn wake(&mut self) {
        for _ in 0..MAX_ROUNDS {
            self.moved = false;
            self.deliver();
            self.tick();
            self.drive_ends();
            self.flush();
            self.drive_agent();
            if !self.moved || self.has_stopped() {
                return;
            }
        }
        panic!("the pair does not become idle at {:?}", self.elapsed());
    }

    fn deliver(&mut self) {
        while self.client != Service::Down && self.tunnel.wants_input() {
            let Some(frame) = self.down.pop(self.now) else {
                break;
            };
            self.moved = true;
            self.journal.down_arrived.note(self.now, &frame);
            // An error is reported again by the event that follows.
            let outcome = self.tunnel.handle_message(self.now, frame);
            self.drive_tunnel();
            if let Err(reason) = outcome {
                assert_eq!(Some(reason), self.closed, "errors and events must agree");
            }
        }
        while self.agents != Service::Down && self.agent.wants_input() {
            let Some(frame) = self.up.pop(self.now) else {
                break;
            };
            self.moved = true;
            self.journal.up_arrived.note(self.now, &frame);
            self.agent.handle_message(self.now, frame);
            self.drive_agent();
        }
    }

    fn tick(&mut self) {
        if self.tunnel_deadline().is_some_and(|at| at <= self.now) {
            self.tunnel.handle_timeout(self.now);
        }
        if self.agent_deadline().is_some_and(|at| at <= self.now) {
            self.agent.handle_timeout(self.now);
        }
        let now = self.now;
        for (_, id, well) in self.dials.extract_if(.., |(at, ..)| *at <= now) {
            self.moved = true;
            if let Some(destination) = self.destinations.get_mut(&id.stream()).filter(|_| well) {
                destination.handle_dialled();
                self.agent.handle_dialled(now, id);
            } else {
                self.agent.handle_dial_failed(now, id);
            }
        }
        self.drive_tunnel();
        self.drive_agent();
    }

    fn drive_ends(&mut self) {
        for local in self.locals.values_mut() {
            self.moved |= local.drive(&mut self.tunnel);
        }
        self.drive_tunnel();
        for (id, destination) in &mut self.destinations {
            let Some(connection) = self.connections.get(id).copied() else {
                continue;
            };
            let taken = destination.poll_read();
            if taken > 0 {
                self.moved = true;
                self.agent.handle_written(self.now, connection, taken);
            }
            while self.agent.wants_read(connection)
                && let Some(data) = destination.poll_send()
            {
                self.moved = true;
                self.agent.handle_read(connection, data);
            }
            if let Some(how) = destination.poll_end() {
                self.moved = true;
                self.agent.handle_ended(self.now, connection, how);
            }
        }
    }

    fn flush(&mut self) {
        while self.client != Service::Down && self.up.has_room() && !self.has_stopped() {
            let Some(transmit) = self.tunnel.poll_transmit(self.now) else {
                break;
            };
            self.moved = true;
            self.send_up(transmit);
        }
        if self.client == Service::Down {
            let early = self.tunnel.poll_transmit(self.now);
            assert!(early.is_none(), "{early:?} was sent without a websocket");
        }
        while self.down.has_room() && !self.has_stopped() {
            let Some(frame) = self.agent.poll_transmit(self.now) else {
                break;
            };
            self.moved = true;
            self.sent += 1;
            self.journal.down_sent.note(self.now, &frame);
            self.down.push(self.now, frame);
        }
        self.drive_tunnel();
    }

    fn send_up(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Opening(text) => {
                assert_eq!(
                    self.client,
                    Service::Opening,
                    "expected one OpenDataChannel for each websocket"
                );
                self.client = Service::Up;
                let opening =
                    payload::decode(text.as_bytes()).expect("OpenDataChannel must be valid");
                self.openings.push(opening);
            }
            Transmit::Message(frame) => {
                assert_eq!(
                    self.client,
                    Service::Up,
                    "OpenDataChannel must be the first message"
                );
                self.sent += 1;
                self.journal.up_sent.note(self.now, &frame);
                self.up.push(self.now, frame);
            }
        }
    }

    fn drive_tunnel(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            self.moved = true;
            assert_eq!(self.closed, None, "no message may follow the end");
            match event {
                Event::Ready { agent_version, .. } => self.ready = Some(agent_version.to_string()),
                Event::Readable(id) => self.local(id).handle_readable(),
                Event::Writable(id) => self.local(id).handle_writable(),
                Event::Notice(text) => self.notices.push(text.to_string()),
                Event::RateLowered { .. }
                | Event::AckTimeout { .. }
                | Event::WebsocketStale { .. } => {
                    self.output.push(event);
                }
                Event::Closed(reason) => {
                    self.closed = Some(reason);
                    self.client = Service::Down;
                }
            }
        }
    }

    fn drive_agent(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            self.moved = true;
            match event {
                agent::Event::Dial(id) => self.dial(id),
                agent::Event::Write(id, data) => {
                    self.destination(id.stream()).handle_write(data);
                }
                agent::Event::Close(id) => self.destination(id.stream()).handle_closed(),
                agent::Event::Ended(end) => {
                    self.notify_client(message_builder::channel_closed(&end.output));
                }
            }
        }
    }

    fn dial(&mut self, id: ConnectionId) {
        let destination = self.destination(id.stream());
        assert_eq!(
            destination.state(),
            State::Waiting,
            "expected one dial for each stream"
        );
        let dial = destination.dial();
        self.connections.insert(id.stream(), id);
        match dial {
            Dial::Accepts(after) => self.dials.push((self.now + after, id, true)),
            Dial::Refuses(after) => self.dials.push((self.now + after, id, false)),
            Dial::Silent => {}
        }
    }

    /// Drivers that wait until their websocket takes a message do not check their timers.
    fn tunnel_deadline(&self) -> Option<Instant> {
        let sends = self.client == Service::Down || self.up.has_room();
        self.tunnel.poll_timeout().filter(|_| sends)
    }

    fn agent_deadline(&self) -> Option<Instant> {
        self.agent.poll_timeout().filter(|_| self.down.has_room())
    }

    /// The time of the next event, if there is one.
    pub(crate) fn next(&self) -> Option<Instant> {
        let reads_down = self.client != Service::Down && self.tunnel.wants_input();
        let reads_up = self.agents != Service::Down && self.agent.wants_input();
        let times = [
            self.tunnel_deadline(),
            self.agent_deadline(),
            self.down.next_arrival().filter(|_| reads_down),
            self.up.next_arrival().filter(|_| reads_up),
            self.dials.iter().map(|(at, ..)| *at).min(),
        ];
        let next = times.into_iter().flatten().min()?;
        assert!(next > self.now, "{times:?}: a deadline is in the past");
        Some(next)
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stop_at.is_some_and(|at| at <= self.sent)
    }
}

/// Maximum number of rounds at one instant; more means an endless loop.
const MAX_ROUNDS: usize = 100_000;
