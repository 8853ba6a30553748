//! Decides when a FIN of the agent is the end of a destination.
//!
//! An agent whose mux breaks sends FIN on every open stream and closes the channel a moment later:
//! as soon as we have acknowledged the FIN, and after two seconds at the latest (docs/protocol.md,
//! sections 0.2 and 9.3). Its mux breaks if it processes a message twice, which is ensured by
//! `proto/mux/replay_guard.rs`. So a FIN is confirmed
//!
//! ```text
//!   at once    if every message sent before it was received is acknowledged, and none of them may
//!              have been processed twice (`proto/channel/sender/repeats.rs`)
//!   later      as soon as that is true, or when the channel has stayed open for so long
//!              that it will not be closed because of a broken mux
//!   never      if the channel ends before: the stream is lost with it
//! ```
//!
//! While no websocket breaks, messages are sent once, so an end costs neither time nor a message.
//! If a destination closes while we still send, its end waits for the acknowledgements in flight.
//! An agent that acknowledges nothing, because another destination does not read, delays an end by
//! [`HOLD`]. An acknowledgement alone is no proof: an agent goes on acknowledging until it has
//! noticed that its mux is broken. Bytes are never held, only the end behind them.
//!
//! Requires that Session Manager relays each message at most once.
//!
//! A FIN after the flag of a refused dial is never such an end, but it may be undecided whether it
//! belongs to the flag (`proto/mux/refused_dials.rs`). The flags and bytes that decide it are awaited
//! for [`MAX_UNDECIDED`].

use std::time::{Duration, Instant};

use super::Tunnel;
use crate::wire::message::Seq;
use crate::wire::smux::StreamId;

/// Unconfirmed FINs.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pending: Vec<StreamEnd>,
    /// When streams that are undecided end without more knowledge.
    decision_due: Option<Instant>,
}

#[derive(Debug)]
struct StreamEnd {
    stream: StreamId,
    /// Messages sent before the FIN was received have lower numbers.
    before: Seq,
    /// When it is confirmed regardless of acknowledgements; `None` while there is no websocket on
    /// which the end of the channel could be received.
    due: Option<Instant>,
}

impl Ends {
    /// A websocket is open: the end of the channel may be received.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        for end in &mut self.pending {
            end.due = Some(now + HOLD);
        }
    }

    pub(super) fn handle_disconnected(&mut self) {
        for end in &mut self.pending {
            end.due = None;
        }
    }

    /// Returns when the next end is confirmed, unless something happens before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pending = self.pending.iter().filter_map(|end| end.due);
        pending.chain(self.decision_due).min()
    }
}

impl Tunnel {
    /// Takes the FINs that were received, and confirms those that can be.
    pub(super) fn confirm_ends(&mut self, now: Instant) {
        while let Some(stream) = self.streams.poll_end() {
            // Later acknowledgements are no proof: the agent gives them for bytes that it drops.
            let last = self.streams.last_data(stream);
            if last.is_some_and(|last| !self.channel.sender().has_arrived(last)) {
                self.streams.cut_short(stream);
            }
            self.ends.pending.push(StreamEnd {
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
        self.decide_refusals(now);
    }

    fn decide_refusals(&mut self, now: Instant) {
        if !self.streams.has_undecided() {
            self.ends.decision_due = None;
            return;
        }
        let due = self.ends.decision_due.get_or_insert(now + MAX_UNDECIDED);
        if *due <= now {
            self.ends.decision_due = None;
            self.streams.end_undecided();
        }
    }
}

/// Longer than an agent with a broken mux takes to close the channel.
const HOLD: Duration = Duration::from_secs(3);

/// Longer than an agent takes to find that several destinations refuse its dials, which it makes one
/// after the other. A client that will be reset waits for so long.
const MAX_UNDECIDED: Duration = Duration::from_secs(1);
