//! What the verbs of a mux answer, and what their owners wait for.

use bytes::Bytes;

use crate::proto::error::Reason;
use crate::wire::smux::StreamId;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// So many bytes were taken.
    Accepted(usize),
    /// None; [`Event::Writable`](crate::proto::Event::Writable) follows.
    Full,
    /// None, for ever: the stream has ended.
    Closed,
}

/// What a read gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The next bytes; never empty.
    Data(Bytes),
    /// None yet; [`Change::Readable`] follows.
    Blocked,
    /// The destination ended; every byte was read.
    End,
    /// The destination could not be reached.
    Refused,
    /// The stream is not known (any more).
    Gone,
}

/// What became of the bytes that were written to a stream.
///
/// An agent acknowledges what it has handed to its mux. It closes a stream because its destination
/// ended, or because we closed it and everything before was written to the destination; it does not
/// say which. So bytes that were acknowledged before its FIN came count as delivered, although a
/// destination that reads slowly and then ends may not have read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upload {
    /// Not known yet; [`Event::Readable`](crate::proto::Event::Readable) follows when it is.
    Pending,
    /// The agent closed the stream after it had acknowledged every byte.
    Delivered,
    /// The agent closed the stream while bytes were unsent or unacknowledged.
    CutShort,
    /// The dial was refused, or the tunnel ended before.
    Lost(Reason),
}

/// What the owner of a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A read would not block.
    Readable(StreamId),
    /// A write would not block.
    Writable(StreamId),
}
