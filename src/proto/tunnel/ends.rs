//! When a FIN of the agent is the end of a destination.
//!
//! An agent whose mux breaks sends FIN on every open stream, and closes the channel a moment later:
//! as soon as we have acknowledged the FIN, and two seconds later at the latest (protocol.md
//! sections 0.2 and 9.3). Its mux breaks if it processes a message twice, which the seam between
//! messages makes sure of (`proto/mux/seam.rs`). So a FIN is confirmed
//!
//! ```text
//!   at once    if every message that left before it came is acknowledged, and none of them may
//!              have been processed twice (`proto/channel/sender/repeats.rs`)
//!   later      as soon as that is true, or when the channel has lived for so long
//!              that it is not going to be closed because of a broken mux
//!   never      if the channel ends before: the stream is lost with it
//! ```
//!
//! Without a break of a websocket messages leave once, so an end costs neither time nor a message.
//! A destination that ends while we still send waits for the acknowledgements that are under way.
//! An agent that acknowledges nothing, because another destination does not read, delays an end by
//! [`HOLD`]. An acknowledgement alone would prove nothing: an agent goes on acknowledging until it
//! has noticed that its mux is broken. Bytes are never held, only the end behind them.
//!
//! This relies on a service that relays each message at most once.

use std::time::{Duration, Instant};

use super::Tunnel;
use crate::wire::message::Seq;
use crate::wire::smux::StreamId;

/// The FINs that are not confirmed.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pending: Vec<End>,
}

#[derive(Debug)]
struct End {
    stream: StreamId,
    /// What left before the FIN came has lower numbers.
    before: Seq,
    /// When it is confirmed, whatever is known; `None` while there is no websocket on which the
    /// end of the channel could come.
    due: Option<Instant>,
}

impl Ends {
    /// A websocket is open: the end of the channel may come.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        for end in &mut self.pending {
            end.due = Some(now + HOLD);
        }
    }

    /// The websocket is gone.
    pub(super) fn handle_disconnected(&mut self) {
        for end in &mut self.pending {
            end.due = None;
        }
    }

    /// When the next end is confirmed, if nothing happens before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pending.iter().filter_map(|end| end.due).min()
    }
}

impl Tunnel {
    /// Takes up the FINs that came, and confirms those that can be.
    pub(super) fn confirm_ends(&mut self, now: Instant) {
        while let Some(stream) = self.streams.poll_end() {
            // Later acknowledgements prove nothing: the agent gives them for bytes that it drops.
            let last = self.streams.last_data(stream);
            if last.is_some_and(|last| !self.channel.sender().has_arrived(last)) {
                self.streams.cut_short(stream);
            }
            self.ends.pending.push(End {
                stream,
                before: self.channel.sender().next_seq(),
                due: self.channel.is_connected().then(|| now + HOLD),
            });
        }
        let (sender, streams) = (self.channel.sender(), &mut self.streams);
        self.ends.pending.retain(|end| {
            let is_due = end.due.is_some_and(|due| due <= now);
            let is_certain = is_due || sender.is_settled(now, end.before);
            if is_certain {
                streams.confirm_end(end.stream);
            }
            !is_certain
        });
    }
}

/// Longer than an agent whose mux broke takes to close the channel.
const HOLD: Duration = Duration::from_secs(3);
