//! Transfer of messages and bytes through a session.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::super::agent::DestinationEnd;
use super::super::client_websocket::Incoming;
use super::Session;

impl Session {
    /// Moves messages from the client to the agent, or to the inbox while the agent reads none.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for _ in 0..MAX_MESSAGES {
            if self.agent.wants_input()
                && let Some(frame) = self.waiting()
            {
                self.agent.handle_message(self.now, frame);
            } else if let Some(frame) = self.arrived() {
                self.deliver(frame);
            } else if !self.listen(cx) {
                break;
            }
            self.run_agent_events();
            moved = true;
        }
        moved
    }

    /// Returns the next message that waits for the agent: first those received before its websocket
    /// broke, then those kept since.
    fn waiting(&mut self) -> Option<Bytes> {
        match (self.inbox.pop(), self.back_at) {
            (Some(frame), _) => Some(frame),
            (None, None) => self.kept.pop(),
            (None, Some(_)) => None,
        }
    }

    /// Returns true if another message may be read. Kept messages must reach the agent first.
    fn has_room(&self) -> bool {
        self.inbox.has_room() && (self.back_at.is_some() || self.kept.is_empty())
    }

    fn arrived(&mut self) -> Option<Bytes> {
        if !self.has_room() {
            return None;
        }
        self.to_agent.pop(self.now)
    }

    /// Reads one message from the client. Returns false if there is none, or no space for it.
    fn listen(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.has_room() || !self.to_agent.has_room() {
            return false;
        }
        let Some(client) = &mut self.client else {
            return false;
        };
        match client.poll_incoming(cx) {
            Poll::Ready(Incoming::Message(frame)) => self.admit(frame),
            Poll::Ready(Incoming::Control) => {}
            Poll::Ready(Incoming::Gone) => self.handle_client_lost(),
            Poll::Pending => return false,
        }
        true
    }

    /// Handles a message received from the websocket.
    fn admit(&mut self, frame: Bytes) {
        if self.violates_limits(&frame) {
            return;
        }
        if is_of_service(&frame) {
            self.unexpected += 1;
            return;
        }
        if self.to_agent.is_clear() {
            self.deliver(frame);
        } else {
            self.to_agent.push(self.now, frame);
        }
    }

    /// Handles a message that has passed the path.
    fn deliver(&mut self, frame: Bytes) {
        if std::mem::take(&mut self.amid_message) {
            self.agent.handle_message(self.now, frame);
        } else if self.back_at.is_some() {
            self.keep(frame);
        } else if self.agent.wants_input() {
            self.agent.handle_message(self.now, frame);
        } else {
            self.inbox.push(frame);
        }
    }

    /// Keeps a client message until the agent is reconnected, or discards it.
    fn keep(&mut self, frame: Bytes) {
        if self.kept.fits(&frame) {
            self.kept.push(frame);
        } else {
            self.discarded_in += 1;
        }
    }

    pub(super) fn poll_destinations(&mut self, cx: &mut Context<'_>) -> bool {
        if self.faults.stall {
            self.run_agent_events();
            return false;
        }
        let Self {
            agent,
            connections,
            now,
            ..
        } = self;
        let mut moved = false;
        for (id, connection) in connections.iter_mut() {
            let written = connection.poll_write(cx);
            moved |= written.is_ready();
            match written {
                Poll::Ready(Ok(len)) => agent.handle_written(*now, *id, len),
                Poll::Ready(Err(_)) => agent.handle_ended(*now, *id, DestinationEnd::Broken),
                Poll::Pending => {}
            }
            if !agent.wants_read(*id) {
                continue;
            }
            match connection.poll_read(cx) {
                Poll::Ready(Ok(data)) if data.is_empty() => {
                    agent.handle_ended(*now, *id, DestinationEnd::Finished);
                }
                Poll::Ready(Ok(data)) => agent.handle_read(*id, data),
                Poll::Ready(Err(_)) => agent.handle_ended(*now, *id, DestinationEnd::Broken),
                Poll::Pending => continue,
            }
            moved = true;
        }
        self.run_agent_events();
        moved
    }

    /// Moves messages from the agent to the client in one batch, or to `held` without a client.
    pub(super) fn poll_output(&mut self, cx: &mut Context<'_>) -> bool {
        self.record_flag();
        let mut moved = false;
        for _ in 0..MAX_MESSAGES {
            let attached = self.client.as_mut().map(|client| client.has_room(cx));
            let carried = match attached {
                None => self.hold(),
                Some(has_room) => has_room && self.forward(),
            };
            if !carried {
                break;
            }
            moved = true;
        }
        if let Some(client) = &mut self.client {
            client.flush(cx);
        }
        moved
    }

    /// Holds one message of the agent for the next client, or discards it.
    fn hold(&mut self) -> bool {
        let Some(frame) = self.agent.poll_transmit(self.now) else {
            return false;
        };
        if self.held.fits(&frame) {
            self.held.push(frame);
        } else {
            self.discarded += 1;
        }
        true
    }

    /// Moves one message towards the client.
    fn forward(&mut self) -> bool {
        if let Some(frame) = self.to_client.pop(self.now) {
            self.feed(frame);
            return true;
        }
        if !self.to_client.has_room() {
            return false;
        }
        let held = self.held.pop();
        let Some(frame) = held.or_else(|| self.agent.poll_transmit(self.now)) else {
            return false;
        };
        if self.to_client.is_clear() {
            self.feed(frame);
        } else {
            self.to_client.push(self.now, frame);
        }
        true
    }

    pub(super) fn feed(&mut self, frame: Bytes) {
        if let Some(client) = &mut self.client {
            client.feed(frame);
        }
    }
}

/// Returns true for message types that Session Manager creates and does not relay
/// (docs/protocol.md, sections 0 and 4.1).
fn is_of_service(frame: &[u8]) -> bool {
    let kind = frame.get(4..36).unwrap_or_default();
    let of_service: [&[u8]; 3] = [
        b"channel_closed",
        b"start_publication",
        b"pause_publication",
    ];
    of_service.iter().any(|name| kind.starts_with(name))
}

/// Maximum number of messages per direction and turn.
const MAX_MESSAGES: usize = 256;
