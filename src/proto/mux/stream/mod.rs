//! State machine of one stream.
//!
//! ```text
//!   ours                              theirs
//!   Unopened ──SYN──▶ Open            Open ──FIN──▶ Ending ──confirmed──▶ Ended
//!                      │ finish         │
//!                      ▼                └─FIN after a refusal──▶ Undecided ──▶ Refused
//!                     Held ──their FIN, or reset──▶ Closing ──FIN──▶ Closed
//! ```
//!
//! FIN closes both directions at the agent, so ours is held while data may still arrive
//! (docs/protocol.md, section 8.5). It is sent when the agent's FIN was received or the local side
//! has disconnected; always after every byte that was written, and only once.
//!
//! A FIN of the agent counts as the end of the destination once the tunnel has confirmed it: a mux
//! that breaks also sends FIN (`proto/tunnel/ends.rs`). A FIN after a refused dial may be undecided
//! for a moment (`proto/mux/refused_dials.rs`).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::proto::error::Reason;
use crate::proto::mux::outcome::Upload;
use crate::proto::mux::scheduler::SendQueue;
use crate::wire::message::Seq;

/// One stream of a mux.
#[derive(Debug)]
pub(crate) struct Stream {
    ours: LocalSide,
    theirs: RemoteSide,
    outbox: VecDeque<u8>,
    inbox: VecDeque<Bytes>,
    /// Bytes received while others were unread; they follow the inbox.
    tail: BytesMut,
    unread: usize,
    /// Bytes sent since the stream last had nothing to send.
    burst: usize,
    pub(in crate::proto) sent: u64,
    pub(in crate::proto) received: u64,
    /// Bytes sent since any were received.
    sent_since_receipt: u64,
    /// True if there is no reader any more: received bytes are dropped.
    discards_input: bool,
    /// True while the owner has left but still queries the upload.
    watched: bool,
    /// The number of the last message with bytes of this stream.
    pub(in crate::proto) last_data: Option<Seq>,
    /// True if the agent closed before it had acknowledged everything that was written.
    cut_short: bool,
    /// True if the destination may have received bytes, although the dial seems to be refused.
    is_refusal_doubtful: bool,
    /// True if a reader waits for bytes or an end.
    pub(in crate::proto) reader_waits: bool,
    /// True if a writer waits for space in the outbox.
    pub(in crate::proto) writer_waits: bool,
}

impl Stream {
    /// Creates a stream whose SYN was not sent yet.
    pub(crate) fn new() -> Self {
        Self {
            ours: LocalSide::Unopened,
            theirs: RemoteSide::Open,
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            tail: BytesMut::new(),
            unread: 0,
            burst: 0,
            sent: 0,
            received: 0,
            sent_since_receipt: 0,
            discards_input: false,
            watched: false,
            last_data: None,
            cut_short: false,
            is_refusal_doubtful: false,
            reader_waits: false,
            writer_waits: false,
        }
    }

    /// Queues as much of `data` as fits the outbox. Returns `None` if the stream is closed for
    /// writing.
    pub(crate) fn write(&mut self, data: &[u8]) -> Option<usize> {
        if self.theirs != RemoteSide::Open
            || !matches!(self.ours, LocalSide::Unopened | LocalSide::Open)
        {
            return None;
        }
        let taken = data.len().min(MAX_UNSENT.saturating_sub(self.outbox.len()));
        self.outbox.extend(&data[..taken]);
        Some(taken)
    }

    /// Returns the next received bytes, at most `max`.
    pub(crate) fn read(&mut self, max: usize) -> Option<Bytes> {
        if self.inbox.is_empty() && !self.tail.is_empty() {
            self.inbox.push_back(self.tail.split().freeze());
        }
        let front = self.inbox.front_mut()?;
        let chunk = front.split_to(max.min(front.len()));
        if front.is_empty() {
            self.inbox.pop_front();
        }
        self.unread -= chunk.len();
        if self.unread == 0 {
            // Otherwise the rest of its buffer would be kept by an idle stream.
            self.tail = BytesMut::new();
        }
        Some(chunk)
    }

    /// The local side will write no more. Its FIN is held until the agent's was received.
    pub(crate) fn finish(&mut self) {
        if matches!(self.ours, LocalSide::Unopened | LocalSide::Open) {
            self.ours = match (self.theirs, self.ours) {
                (_, LocalSide::Unopened) => LocalSide::UnopenedHeld,
                (RemoteSide::Open, _) => LocalSide::Held,
                (
                    RemoteSide::Ending
                    | RemoteSide::Ended
                    | RemoteSide::Undecided
                    | RemoteSide::Refused,
                    _,
                ) => LocalSide::Closing,
            };
        }
    }

    /// The local side has disconnected: the FIN follows what was written, and nothing more is read.
    /// Returns the number of unread bytes that were dropped.
    pub(crate) fn reset(&mut self) -> usize {
        self.ours = match self.ours {
            LocalSide::Unopened if self.outbox.is_empty() => {
                // The agent never learns of it, so there is nothing to wait for.
                self.theirs = RemoteSide::Ended;
                LocalSide::Closed
            }
            LocalSide::Unopened | LocalSide::UnopenedHeld | LocalSide::UnopenedClosing => {
                LocalSide::UnopenedClosing
            }
            LocalSide::Open | LocalSide::Held | LocalSide::Closing => LocalSide::Closing,
            LocalSide::Closed => LocalSide::Closed,
        };
        self.discards_input = true;
        self.watched = false;
        self.inbox.clear();
        self.tail = BytesMut::new();
        std::mem::take(&mut self.unread)
    }

    /// Like [`Stream::reset`], but keeps the stream until it is reset, so that its upload can be
    /// queried.
    pub(crate) fn leave(&mut self) -> usize {
        let dropped = self.reset();
        self.watched = true;
        dropped
    }

    pub(crate) fn upload(&self) -> Upload {
        match self.theirs {
            RemoteSide::Open | RemoteSide::Ending | RemoteSide::Undecided => Upload::Pending,
            RemoteSide::Refused => Upload::Lost(self.refusal()),
            RemoteSide::Ended if self.cut_short => Upload::CutShort,
            RemoteSide::Ended => Upload::Delivered,
        }
    }

    /// The agent's FIN was received before it had acknowledged everything that was sent.
    pub(in crate::proto) fn cut_short(&mut self) {
        self.cut_short = true;
    }

    /// Bytes were received. Returns how many of them are kept for reading. They are copied: a slice
    /// would keep its whole message, and the read buffer of the websocket, in memory.
    pub(crate) fn handle_data(&mut self, data: &[u8]) -> usize {
        self.received += data.len() as u64;
        self.sent_since_receipt = 0;
        if self.discards_input || self.theirs != RemoteSide::Open {
            return 0;
        }
        match self.unread {
            0 => self.inbox.push_back(Bytes::copy_from_slice(data)),
            _ => self.join(data),
        }
        self.unread += data.len();
        data.len()
    }

    /// Joins bytes that arrive while others are unread: a destination that sends byte by byte would
    /// otherwise take forty times the memory of its data.
    fn join(&mut self, data: &[u8]) {
        self.tail.extend_from_slice(data);
        if self.tail.len() >= BLOCK {
            self.inbox.push_back(self.tail.split().freeze());
        }
    }

    /// The agent closed both directions. Unsent bytes are dropped.
    pub(crate) fn handle_finish(&mut self) {
        self.end(RemoteSide::Ending);
    }

    /// The agent closed both directions, perhaps after a refused dial. Without a byte sent it does
    /// not matter whether the destination closed instead.
    pub(crate) fn handle_refusal(&mut self) {
        self.end(match self.sent {
            0 => RemoteSide::Refused,
            _ => RemoteSide::Undecided,
        });
    }

    fn end(&mut self, how: RemoteSide) {
        if self.theirs != RemoteSide::Open {
            return;
        }
        self.theirs = how;
        self.cut_short = !self.outbox.is_empty();
        self.outbox.clear();
        if matches!(self.ours, LocalSide::Open | LocalSide::Held) {
            self.ours = LocalSide::Closing;
        }
    }

    /// The stream was certainly refused, or its destination may have been reached and have closed.
    pub(crate) fn decide_refusal(&mut self, is_certain: bool) {
        if self.theirs == RemoteSide::Undecided {
            self.theirs = RemoteSide::Refused;
            self.is_refusal_doubtful = !is_certain;
        }
    }

    /// Returns the reason for the end of a refused stream.
    pub(crate) fn refusal(&self) -> Reason {
        match self.is_refusal_doubtful {
            true => Reason::RefusedOrClosed,
            false => Reason::Refused,
        }
    }

    /// The received FIN was sent because the destination closed.
    pub(crate) fn confirm_end(&mut self) {
        if self.theirs == RemoteSide::Ending {
            self.theirs = RemoteSide::Ended;
        }
    }

    /// Returns the kind of frame to send next.
    pub(crate) fn intent(&self) -> NextFrame {
        match self.ours {
            LocalSide::Unopened | LocalSide::UnopenedHeld | LocalSide::UnopenedClosing => {
                NextFrame::Open
            }
            LocalSide::Open | LocalSide::Held | LocalSide::Closing if !self.outbox.is_empty() => {
                NextFrame::Data
            }
            LocalSide::Closing => NextFrame::Finish,
            LocalSide::Open | LocalSide::Held | LocalSide::Closed => NextFrame::Nothing,
        }
    }

    /// Returns the queue for a stream that has something to send again.
    pub(in crate::proto::mux) fn queue(&mut self) -> SendQueue {
        match std::mem::take(&mut self.burst) {
            ..=LITTLE => SendQueue::Interactive,
            _ => SendQueue::Bulk,
        }
    }

    pub(crate) fn sent_open(&mut self) {
        self.ours = match self.ours {
            LocalSide::UnopenedHeld => LocalSide::Held,
            LocalSide::UnopenedClosing => LocalSide::Closing,
            LocalSide::Unopened
            | LocalSide::Open
            | LocalSide::Held
            | LocalSide::Closing
            | LocalSide::Closed => LocalSide::Open,
        };
    }

    pub(crate) fn sent_finish(&mut self) {
        debug_assert_eq!(self.ours, LocalSide::Closing, "one FIN, after all data");
        self.ours = LocalSide::Closed;
    }

    /// Moves up to `max` bytes from the outbox to `into`. Returns how many.
    pub(crate) fn drain_into(&mut self, max: usize, into: &mut BytesMut) -> usize {
        let len = max.min(self.outbox.len());
        let (front, back) = self.outbox.as_slices();
        let from_front = len.min(front.len());
        into.extend_from_slice(&front[..from_front]);
        into.extend_from_slice(&back[..len - from_front]);
        self.outbox.drain(..len);
        self.sent += len as u64;
        self.sent_since_receipt += len as u64;
        self.burst += len;
        if self.outbox.is_empty() && self.outbox.capacity() > IDLE_CAPACITY {
            self.outbox.shrink_to(IDLE_CAPACITY);
        }
        len
    }

    /// Returns the state of the agent's side.
    pub(crate) fn theirs(&self) -> RemoteSide {
        self.theirs
    }

    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    pub(crate) fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// Returns the number of bytes sent since any were received.
    pub(crate) fn sent_since_receipt(&self) -> u64 {
        self.sent_since_receipt
    }

    /// Returns true if the outbox is at most half full.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.len() <= MAX_UNSENT / 2
    }

    /// Returns true if both sides have closed and nothing reads or queries the stream any more.
    pub(crate) fn is_over(&self) -> bool {
        let is_known = match self.theirs {
            RemoteSide::Open | RemoteSide::Ending => false,
            RemoteSide::Undecided | RemoteSide::Ended | RemoteSide::Refused => true,
        };
        self.discards_input && !self.watched && self.ours == LocalSide::Closed && is_known
    }
}

/// The kind of frame that a stream would send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextFrame {
    Nothing,
    /// A SYN.
    Open,
    /// A PSH with some of its bytes.
    Data,
    /// A FIN.
    Finish,
}

/// The agent's side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RemoteSide {
    /// More data may be received.
    Open,
    /// A FIN was received; nothing follows. It is not certain yet that the destination has closed.
    Ending,
    /// The destination closed; every byte was received before.
    Ended,
    /// A FIN was received; it is not known yet whether the dial was refused, or the destination closed
    /// without sending anything.
    Undecided,
    /// The agent could not connect to the destination, or that is all that can be known.
    Refused,
}

/// Our side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocalSide {
    Unopened,
    /// Finished before the SYN was sent.
    UnopenedHeld,
    /// Reset before the SYN was sent, with bytes to deliver.
    UnopenedClosing,
    Open,
    Held,
    Closing,
    Closed,
}

/// Maximum unsent bytes of one stream: enough for the relay to keep up with the driver, and small
/// enough that a slow tunnel slows the local program down.
pub const MAX_UNSENT: usize = 256 * 1024;

/// A stream that sends no more than this at a time goes first: a key, a query, a small request.
const LITTLE: usize = 512;

/// Memory that an empty outbox may keep.
const IDLE_CAPACITY: usize = 64 * 1024;

/// Unread bytes are kept in blocks of about this size.
const BLOCK: usize = 64 * 1024;

#[cfg(test)]
mod tests;
