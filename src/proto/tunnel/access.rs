//! Methods of a tunnel for the owners of its streams.

use super::Tunnel;
use crate::proto::error::Reason;
use crate::proto::event::{OpenError, Read};
use crate::proto::mux::Write;
use crate::proto::state::State;
use crate::wire::smux::StreamId;

impl Tunnel {
    /// Opens a stream: one dial of the agent.
    ///
    /// # Errors
    ///
    /// Before [`Event::Ready`](crate::proto::Event::Ready), and after the end of the tunnel unless
    /// bytes are waiting ([`Tunnel::has_remainder`]).
    pub fn open(&mut self) -> Result<StreamId, OpenError> {
        match &self.state {
            State::Ready => self.streams.open().ok_or(OpenError::Exhausted),
            State::Opening | State::Probing { .. } => Err(OpenError::NotReady),
            State::Closing { .. } => Err(OpenError::Ended(Reason::Finished)),
            State::Ended(_) if self.streams.has_remainder() => {
                self.streams.open().ok_or(OpenError::Exhausted)
            }
            State::Ended(reason) => Err(OpenError::Ended(reason.clone())),
        }
    }

    /// Queues bytes for the agent.
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Write {
        match self.state {
            State::Ended(_) => Write::Closed,
            State::Opening | State::Probing { .. } | State::Ready | State::Closing { .. } => {
                self.streams.write(id, data)
            }
        }
    }

    /// Returns bytes from the agent, at most `max`. What was received in order before the end of
    /// the tunnel is returned first.
    pub fn read(&mut self, id: StreamId, max: usize) -> Read {
        let read = self.streams.read(id, max);
        self.settle_early();
        match (read, &self.state) {
            // The stream was not the first to end.
            (Read::Blocked | Read::Lost(Reason::Finished), State::Ended(reason)) => {
                Read::Lost(reason.clone())
            }
            (read, _) => read,
        }
    }

    /// The local side will write no more. FIN would close both directions at the agent, so it is
    /// held until the agent's FIN is received or the stream is reset.
    pub fn finish(&mut self, id: StreamId) {
        self.streams.finish(id);
    }

    /// The local side has disconnected: FIN follows what was written; received data is discarded.
    pub fn reset(&mut self, id: StreamId) {
        self.streams.reset(id);
        self.settle_early();
        self.handle_arrivals();
        self.assert_invariants();
    }

    /// Returns budget for early messages to the pool once fewer bytes of them are unread.
    pub(super) fn settle_early(&mut self) {
        let unread = match self.streams.wants_input() {
            true => 0,
            false => self.streams.unread(),
        };
        self.channel.settle_early(unread);
    }
}
