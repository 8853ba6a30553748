//! What a tunnel reports about itself and its streams.

use std::time::Duration;

use super::Tunnel;
use crate::proto::error::Reason;
use crate::proto::mux::Upload;
use crate::proto::state::State;
use crate::proto::stats::Stats;
use crate::wire::smux::StreamId;

impl Tunnel {
    /// False while nothing more should be taken from the websocket.
    pub fn wants_input(&self) -> bool {
        self.streams.wants_input() && self.channel.wants_input()
    }

    /// True while unread bytes of streams stop the input. Their readers may take any time.
    pub fn is_full(&self) -> bool {
        !self.streams.wants_input()
    }

    /// False while there is no websocket: nothing can move then.
    pub fn is_connected(&self) -> bool {
        self.channel.is_connected()
    }

    /// Why the tunnel ended; `None` while it lives.
    pub fn ended(&self) -> Option<&Reason> {
        self.state.ended()
    }

    /// The local side is gone, as with [`Tunnel::reset`], and will ask for the
    /// [upload](Tunnel::upload). The stream is kept until it is reset.
    pub fn leave(&mut self, id: StreamId) {
        self.streams.leave(id);
        self.settle_early();
        self.handle_arrivals();
        self.assert_invariants();
    }

    /// What became of the bytes that were written to a stream that has ended or was
    /// [left](Tunnel::leave).
    pub fn upload(&mut self, id: StreamId) -> Upload {
        match (self.streams.upload(id), &self.state) {
            (Upload::Pending, State::Ended(reason)) => Upload::Lost(reason.clone()),
            (upload, _) => upload,
        }
    }

    /// True if bytes came for a stream that nobody has opened: it can be opened and read although
    /// the tunnel may have ended.
    pub fn has_remainder(&self) -> bool {
        self.streams.has_remainder()
    }

    /// Bytes of a stream that were sent and received; nothing once it is forgotten.
    pub fn traffic(&self, id: StreamId) -> (u64, u64) {
        self.streams.traffic_of(id)
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        let (bytes_sent, bytes_received) = self.streams.traffic();
        Stats {
            bytes_sent,
            bytes_received,
            ..self.channel.stats()
        }
    }

    /// A counter that grows with each new message of the agent that comes in order, and with each
    /// message of data that the agent acknowledges.
    pub fn progress(&self) -> u64 {
        self.channel.progress()
    }

    /// The smoothed round trip of messages that were sent once.
    pub fn rtt(&self) -> Duration {
        self.channel.sender().rtt()
    }

    /// True while every stream is forgotten and nothing waits to be acknowledged.
    pub fn is_quiet(&self) -> bool {
        self.streams.is_empty() && self.channel.sender().is_empty()
    }
}
