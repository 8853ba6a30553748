//! The life of one stream.
//!
//! ```text
//!   ours                              theirs
//!   Unopened ──SYN──▶ Open            Open ──FIN──▶ Ending ──confirmed──▶ Ended
//!                      │ finish         │
//!                      ▼                └─FIN after a refusal──▶ Refused
//!                     Held ──their FIN, or reset──▶ Closing ──FIN──▶ Closed
//! ```
//!
//! FIN closes both directions at the agent, so ours is held while an answer may come (protocol.md
//! section 8.5). It leaves when the agent's has come, or when the local side is gone; always
//! behind every byte that was written, and only once.
//!
//! A FIN of the agent counts as the end of the destination once the tunnel has confirmed it: a mux
//! that breaks sends FIN too (`proto/tunnel/ends.rs`).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::proto::error::Reason;
use crate::proto::mux::outcome::Upload;
use crate::proto::mux::scheduler::Line;
use crate::wire::message::Seq;

/// One stream of a mux.
#[derive(Debug)]
pub(crate) struct Stream {
    ours: LocalSide,
    theirs: RemoteSide,
    outbox: VecDeque<u8>,
    inbox: VecDeque<Bytes>,
    /// What came while something waited, behind the inbox.
    tail: BytesMut,
    unread: usize,
    /// Bytes that were sent since it last had nothing to send.
    spell: usize,
    pub(in crate::proto) sent: u64,
    pub(in crate::proto) received: u64,
    /// Bytes that were sent since any came.
    unheard: u64,
    /// True once nobody will read: what comes is dropped.
    deaf: bool,
    /// True while the owner has left and asks what became of the upload.
    watched: bool,
    /// The number of the last message with bytes of this stream.
    pub(in crate::proto) last_data: Option<Seq>,
    /// True if the agent closed before it had acknowledged everything that was written.
    cut_short: bool,
    /// True once a byte came.
    pub(in crate::proto) answered: bool,
    /// Someone waits to be told that bytes or an end came.
    pub(in crate::proto) reader_waits: bool,
    /// Someone waits to be told that the outbox has room.
    pub(in crate::proto) writer_waits: bool,
}

impl Stream {
    /// A stream whose SYN has not left.
    pub(crate) fn new() -> Self {
        Self {
            ours: LocalSide::Unopened,
            theirs: RemoteSide::Open,
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            tail: BytesMut::new(),
            unread: 0,
            spell: 0,
            sent: 0,
            received: 0,
            unheard: 0,
            deaf: false,
            watched: false,
            last_data: None,
            cut_short: false,
            answered: false,
            reader_waits: false,
            writer_waits: false,
        }
    }

    /// Takes as much of `data` as the outbox has room for; `None` if nothing can be written any
    /// more.
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

    /// The next bytes that came, at most `max`.
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
            // The rest of its buffer would stay with an idle stream.
            self.tail = BytesMut::new();
        }
        Some(chunk)
    }

    /// The local side will write no more. Its FIN is held until the agent's has come.
    pub(crate) fn finish(&mut self) {
        if matches!(self.ours, LocalSide::Unopened | LocalSide::Open) {
            self.ours = match (self.theirs, self.ours) {
                (_, LocalSide::Unopened) => LocalSide::UnopenedHeld,
                (RemoteSide::Open, _) => LocalSide::Held,
                (RemoteSide::Ending | RemoteSide::Ended | RemoteSide::Refused, _) => {
                    LocalSide::Closing
                }
            };
        }
    }

    /// The local side is gone: the FIN follows what was written, and nothing is read any more.
    /// Returns how many unread bytes were dropped.
    pub(crate) fn reset(&mut self) -> usize {
        self.ours = match self.ours {
            LocalSide::Unopened if self.outbox.is_empty() => {
                // The agent never hears of it, so nothing is to be waited for.
                self.theirs = RemoteSide::Ended;
                LocalSide::Closed
            }
            LocalSide::Unopened | LocalSide::UnopenedHeld | LocalSide::UnopenedClosing => {
                LocalSide::UnopenedClosing
            }
            LocalSide::Open | LocalSide::Held | LocalSide::Closing => LocalSide::Closing,
            LocalSide::Closed => LocalSide::Closed,
        };
        self.deaf = true;
        self.watched = false;
        self.inbox.clear();
        self.tail = BytesMut::new();
        std::mem::take(&mut self.unread)
    }

    /// Like [`Stream::reset`], but the stream is not forgotten before it is reset, so that its
    /// upload can be asked for.
    pub(crate) fn leave(&mut self) -> usize {
        let dropped = self.reset();
        self.watched = true;
        dropped
    }

    /// What became of the bytes that were written.
    pub(crate) fn upload(&self) -> Upload {
        match self.theirs {
            RemoteSide::Open | RemoteSide::Ending => Upload::Pending,
            RemoteSide::Refused => Upload::Lost(Reason::Refused),
            RemoteSide::Ended if self.cut_short => Upload::CutShort,
            RemoteSide::Ended => Upload::Delivered,
        }
    }

    /// The agent's FIN came before it had acknowledged everything that was sent.
    pub(in crate::proto) fn cut_short(&mut self) {
        self.cut_short = true;
    }

    /// Bytes came. Returns how many of them wait to be read. They are copied: a slice would keep
    /// its whole message, and the read buffer of the websocket, in memory.
    pub(crate) fn handle_data(&mut self, data: &[u8]) -> usize {
        self.answered = true;
        self.received += data.len() as u64;
        self.unheard = 0;
        if self.deaf || self.theirs != RemoteSide::Open {
            return 0;
        }
        match self.unread {
            0 => self.inbox.push_back(Bytes::copy_from_slice(data)),
            _ => self.join(data),
        }
        self.unread += data.len();
        data.len()
    }

    /// Joins what comes while something waits: a destination that speaks byte by byte would cost
    /// forty times what it says.
    fn join(&mut self, data: &[u8]) {
        self.tail.extend_from_slice(data);
        if self.tail.len() >= BLOCK {
            self.inbox.push_back(self.tail.split().freeze());
        }
    }

    /// The agent closed both directions, after a refused dial or not. What was not sent has
    /// nobody to go to.
    pub(crate) fn handle_finish(&mut self, refused: bool) {
        if self.theirs != RemoteSide::Open {
            return;
        }
        self.theirs = if refused {
            RemoteSide::Refused
        } else {
            RemoteSide::Ending
        };
        self.cut_short = !self.outbox.is_empty();
        self.outbox.clear();
        if matches!(self.ours, LocalSide::Open | LocalSide::Held) {
            self.ours = LocalSide::Closing;
        }
    }

    /// The FIN that came was sent because the destination ended.
    pub(crate) fn confirm_end(&mut self) {
        if self.theirs == RemoteSide::Ending {
            self.theirs = RemoteSide::Ended;
        }
    }

    /// What this stream would send next.
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

    /// Where it waits for its turn, now that it has something to send again.
    pub(in crate::proto::mux) fn line(&mut self) -> Line {
        match std::mem::take(&mut self.spell) {
            ..=LITTLE => Line::Quick,
            _ => Line::Steady,
        }
    }

    /// Its SYN leaves.
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

    /// Its FIN leaves.
    pub(crate) fn sent_finish(&mut self) {
        debug_assert_eq!(
            self.ours,
            LocalSide::Closing,
            "one FIN, behind everything else"
        );
        self.ours = LocalSide::Closed;
    }

    /// Cuts up to `max` bytes off the outbox, into `into`. Returns how many.
    pub(crate) fn drain_into(&mut self, max: usize, into: &mut BytesMut) -> usize {
        let len = max.min(self.outbox.len());
        let (front, back) = self.outbox.as_slices();
        let from_front = len.min(front.len());
        into.extend_from_slice(&front[..from_front]);
        into.extend_from_slice(&back[..len - from_front]);
        self.outbox.drain(..len);
        self.sent += len as u64;
        self.unheard += len as u64;
        self.spell += len;
        if self.outbox.is_empty() && self.outbox.capacity() > IDLE_CAPACITY {
            self.outbox.shrink_to(IDLE_CAPACITY);
        }
        len
    }

    /// What the agent did with its side.
    pub(crate) fn theirs(&self) -> RemoteSide {
        self.theirs
    }

    /// Bytes that wait to be read.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// Bytes that were sent since any came.
    pub(crate) fn unheard(&self) -> u64 {
        self.unheard
    }

    /// True if the outbox takes more.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.len() <= MAX_UNSENT / 2
    }

    /// True once both sides have closed and nobody reads or asks: the stream can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let is_known = matches!(self.theirs, RemoteSide::Ended | RemoteSide::Refused);
        self.deaf && !self.watched && self.ours == LocalSide::Closed && is_known
    }
}

/// What a stream would send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextFrame {
    /// Nothing.
    Nothing,
    /// Its SYN.
    Open,
    /// Some of its bytes.
    Data,
    /// Its FIN.
    Finish,
}

/// The agent's side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RemoteSide {
    /// More may come.
    Open,
    /// A FIN came; nothing follows. Whether the destination has ended is not certain yet.
    Ending,
    /// The destination ended; every byte came before.
    Ended,
    /// The destination could not be reached.
    Refused,
}

/// Our side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocalSide {
    Unopened,
    /// Finished before the SYN left.
    UnopenedHeld,
    /// Reset before the SYN left, with bytes to deliver.
    UnopenedClosing,
    Open,
    Held,
    Closing,
    Closed,
}

/// What may wait to be sent on one stream: enough that the relay keeps up with the driver, and
/// little enough that a slow tunnel is felt by the local program.
pub const MAX_UNSENT: usize = 256 * 1024;

/// Who sends no more at a time goes first: a key, a query, a small request.
const LITTLE: usize = 512;

/// What an empty outbox may keep of its memory.
const IDLE_CAPACITY: usize = 64 * 1024;

/// What waits unread is kept in blocks of about this size.
const BLOCK: usize = 64 * 1024;

#[cfg(test)]
mod tests;
