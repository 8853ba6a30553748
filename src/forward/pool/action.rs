//! Types exchanged between a pool and its owner.

use crate::session::HoldTime;

/// Identifies a tunnel of the pool; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::forward) struct TunnelId(pub(super) u64);

/// Identifies a connection that waits for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::forward) struct WaiterId(pub(in crate::forward) u64);

/// Command to the owner of the tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Action<E> {
    /// Start a session and its tunnel.
    Start {
        tunnel: TunnelId,
        priority: Priority,
    },
    /// Raise the priority of a start that may still be queued: a connection needs it now.
    Prioritize(TunnelId),
    /// Cancel a start that may still be queued.
    Cancel(TunnelId),
    /// Give this connection a slot on this tunnel.
    Assign {
        waiter: WaiterId,
        tunnel: TunnelId,
    },
    Reject {
        waiter: WaiterId,
        why: RejectReason<E>,
    },
    Close(TunnelId),
}

/// Priority of a StartSession call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Priority {
    /// A connection waits for it.
    Waiter,
    /// For a warm session; no connection waits.
    Warm,
}

/// What a connection did with its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Returned {
    /// It opened a stream.
    Used,
    /// It was cancelled before it opened one.
    Unused,
    /// The tunnel opened no stream: it has ended, or has no stream numbers left.
    Unusable,
}

/// Reason why a connection gets no slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::forward) enum RejectReason<E> {
    /// Starting sessions fails.
    Failed(E),
    /// Its deadline has passed.
    Late,
}

/// What a failed start implies for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Severity {
    /// It will fail too.
    Persistent(HoldTime),
    /// Nothing.
    Transient,
    /// It must be retried, subject to the rate limit.
    Throttled,
}
