//! What the verbs of a mux answer, and what their owners wait for.

use bytes::Bytes;

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

/// What the owner of a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A read would not block.
    Readable(StreamId),
    /// A write would not block.
    Writable(StreamId),
}
