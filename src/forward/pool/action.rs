//! What a pool and its owner say to each other.

use crate::session::HoldTime;

/// A tunnel of the pool; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::forward) struct TunnelId(pub(super) u64);

/// A connection that wants a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::forward) struct WaiterId(pub(in crate::forward) u64);

/// What the owner of the tunnels shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Action<E> {
    /// Start a session and its tunnel.
    Start { tunnel: TunnelId, urgency: Urgency },
    /// A start that is still queued is for a connection now.
    Hurry(TunnelId),
    /// Start it not, if it is still queued.
    Cancel(TunnelId),
    /// This connection gets a place on this tunnel.
    Give { waiter: WaiterId, tunnel: TunnelId },
    /// This connection gets none.
    Refuse { waiter: WaiterId, why: Why<E> },
    /// End it.
    Retire(TunnelId),
}

/// Whose turn it is to call StartSession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Urgency {
    /// A connection waits.
    Connection,
    /// Nobody waits.
    Spare,
}

/// What a connection did with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Returned {
    /// It opened a stream.
    Used,
    /// It left before it opened one.
    Unused,
    /// The tunnel opened no stream: it has ended, or has no stream numbers left.
    Unusable,
}

/// Why a connection gets no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Why<E> {
    /// Sessions fail.
    Failed(E),
    /// Its deadline has passed.
    Late,
}

/// What a failed start says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Weight {
    /// It will fail too.
    Definite(HoldTime),
    /// Nothing.
    Passing,
    /// It is to be tried again, in turn.
    Throttled,
}
