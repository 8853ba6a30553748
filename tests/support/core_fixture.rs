//! A tunnel with messages made by hand; the test reads what it sends.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ssm_proxyd::proto::{ClientVersion, Event, Options, Reason, Transmit, Tunnel};
use ssm_proxyd::wire::message::{Message, MessageType};

use super::message_builder;
use super::pair::start_time;

/// A tunnel with a websocket, and everything it sent.
pub(crate) struct CoreFixture {
    pub(crate) tunnel: Tunnel,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<Message>,
    pub(crate) events: Vec<Event>,
}

impl CoreFixture {
    /// A tunnel whose handshake has not begun.
    pub(crate) fn new() -> Self {
        let now = start_time();
        let options = Options {
            upload_rate: 0,
            upload_payload: 1024,
            upload_window: 64 * 1024,
            keep_alive: false,
            shared: true,
            client_version: ClientVersion::DEFAULT,
        };
        let mut tunnel = Tunnel::new(now, SystemTime::UNIX_EPOCH, 1, options);
        tunnel.handle_connected(now, "token");
        Self {
            tunnel,
            now,
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A ready tunnel. The next number of the agent is 2, that of the tunnel is 3.
    pub(crate) fn ready() -> Self {
        let mut desk = Self::new();
        desk.receive(message_builder::handshake_request(0, "3.3.987.0", ""));
        desk.receive(message_builder::handshake_complete(1, ""));
        desk.receive(message_builder::acknowledge(&MessageType::Input, 0));
        desk.receive(message_builder::acknowledge(&MessageType::Input, 2));
        desk.receive(message_builder::acknowledge(&MessageType::Input, 1));
        desk.sent.clear();
        desk.events.clear();
        desk
    }

    /// Delivers a message.
    pub(crate) fn receive(&mut self, frame: Bytes) {
        // Errors are reported by `ended` too.
        let _known: Result<(), Reason> = self.tunnel.handle_message(self.now, frame);
        self.drain();
    }

    /// Advances the time.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.now += span;
        self.tunnel.handle_timeout(self.now);
        self.drain();
    }

    /// Reads what the tunnel has to send.
    pub(crate) fn drain(&mut self) {
        self.events
            .extend(std::iter::from_fn(|| self.tunnel.poll_event()));
        while let Some(transmit) = self.tunnel.poll_transmit(self.now) {
            if let Transmit::Message(frame) = transmit {
                self.sent.push(Message::decode(frame).unwrap());
            }
        }
    }

    /// The messages of a kind that it sent.
    pub(crate) fn sent_of(&self, kind: &MessageType) -> Vec<&Message> {
        self.sent
            .iter()
            .filter(|m| m.header.kind == *kind)
            .collect()
    }
}
