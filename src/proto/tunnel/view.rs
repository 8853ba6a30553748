//! State queries of a tunnel and its streams.

use std::time::Duration;

use super::Tunnel;
use crate::proto::document::ClientSide;
use crate::proto::error::Reason;
use crate::proto::mux::Upload;
use crate::proto::state::State;
use crate::proto::stats::Stats;
use crate::wire::smux::StreamId;

impl Tunnel {
    /// Returns false while nothing more should be read from the websocket.
    pub fn wants_input(&self) -> bool {
        self.streams.wants_input() && self.channel.wants_input()
    }

    /// Returns true while unread bytes of streams stop the input, which may last indefinitely.
    pub fn is_full(&self) -> bool {
        !self.streams.wants_input()
    }

    /// Returns false while there is no websocket: no data can be transferred.
    pub fn is_connected(&self) -> bool {
        self.channel.is_connected()
    }

    /// Returns true once the agent's handshake is complete, until the tunnel ends.
    pub fn has_handshake(&self) -> bool {
        match self.state {
            State::Probing { .. } | State::Ready | State::Closing { .. } => true,
            State::Opening | State::Ended(_) => false,
        }
    }

    /// Returns what the document wants to be connected to the session, once the handshake is
    /// complete.
    pub fn client_side(&self) -> &ClientSide {
        &self.client_side
    }

    /// Returns the reason for the end of the tunnel; `None` while it has not ended.
    pub fn ended(&self) -> Option<&Reason> {
        self.state.ended()
    }

    /// The local side has disconnected, as with [`Tunnel::reset`], and will query the
    /// [upload](Tunnel::upload). The stream is kept until it is reset.
    pub fn leave(&mut self, id: StreamId) {
        self.streams.leave(id);
        self.settle_early();
        self.handle_arrivals();
        self.assert_invariants();
    }

    /// Returns the result of the upload on a stream that has ended or was [left](Tunnel::leave).
    pub fn upload(&mut self, id: StreamId) -> Upload {
        match (self.streams.upload(id), &self.state) {
            (Upload::Pending, State::Ended(reason)) => Upload::Lost(reason.clone()),
            (upload, _) => upload,
        }
    }

    /// Returns true if bytes were received for a stream that is not opened yet: it can be opened
    /// and read even if the tunnel has ended.
    pub fn has_remainder(&self) -> bool {
        self.streams.has_remainder()
    }

    /// Bytes sent and received on a stream; zero once it was removed.
    pub fn traffic(&self, id: StreamId) -> (u64, u64) {
        self.streams.traffic_of(id)
    }

    /// Returns the counters.
    pub fn stats(&self) -> Stats {
        let (bytes_sent, bytes_received) = self.streams.traffic();
        Stats {
            bytes_sent,
            bytes_received,
            ..self.channel.stats()
        }
    }

    /// A counter that grows with each new in-order message of the agent, and with each data message
    /// that the agent acknowledges.
    pub fn progress(&self) -> u64 {
        self.channel.progress()
    }

    /// The smoothed round trip of messages that were sent once.
    pub fn rtt(&self) -> Duration {
        self.channel.sender().rtt()
    }

    /// Returns true while there are no streams and nothing is unacknowledged.
    pub fn is_quiet(&self) -> bool {
        self.streams.is_empty() && self.channel.sender().is_empty()
    }
}
