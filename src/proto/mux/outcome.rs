//! Results of a write and of an upload.

use crate::proto::error::Reason;

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
