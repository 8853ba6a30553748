//! Results of the methods of a mux, and the readiness changes it reports.

use bytes::Bytes;

use crate::proto::error::Reason;
use crate::wire::smux::StreamId;

/// Result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// This number of bytes was taken.
    Accepted(usize),
    /// No bytes taken; [`Event::Writable`](crate::proto::Event::Writable) follows.
    Full,
    /// No bytes taken, and none will be: the stream has ended.
    Closed,
}

/// Result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The next bytes; never empty.
    Data(Bytes),
    /// No data yet; [`Change::Readable`] follows.
    Blocked,
    /// The destination closed; every byte was read.
    End,
    /// The agent could not connect to the destination.
    Refused,
    /// The stream does not exist, or no longer.
    Gone,
}

/// Result of an upload: what happened to the bytes written to a stream.
///
/// An agent acknowledges what it has handed to its mux. It closes a stream because its destination
/// closed, or because we closed it and everything before was written to the destination; the FIN
/// does not say which. So bytes acknowledged before the agent's FIN count as delivered, although a
/// destination that reads slowly and then closes may not have read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upload {
    /// Not known yet; [`Event::Readable`](crate::proto::Event::Readable) follows when it is.
    Pending,
    /// The agent closed the stream after it had acknowledged every byte.
    Delivered,
    /// The agent closed the stream while bytes were unsent or unacknowledged.
    CutShort,
    /// The dial was refused, or the tunnel ended first.
    Lost(Reason),
}

/// A readiness change of a stream, for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A read would not block.
    Readable(StreamId),
    /// A write would not block.
    Writable(StreamId),
}
