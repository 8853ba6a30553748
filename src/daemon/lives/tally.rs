//! Counts what has really happened in lives: an event of a script may hit nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static COUNTS: Mutex<BTreeMap<Happening, u32>> = Mutex::new(BTreeMap::new());

/// Something that has happened in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// All websockets were closed while bytes moved.
    CloseInFlight,
    /// The network was a black hole or refused connections while bytes moved.
    OutageInFlight,
    /// A session was resumed.
    Resume,
    /// Sessions were resumed in time after a suspend.
    ResumeAfterSuspend,
    /// A session ended by its idle timeout.
    IdleTimeout,
    /// A call of AWS failed.
    FailedCall,
    /// A task has panicked.
    Panic,
    /// The disk was full, or slow, when it was needed.
    BadDisk,
    /// The credential provider failed, was slow or hung when it was asked.
    BadProvider,
    Reload,
    FailedReload,
    /// The daemon was stopped in order with open connections.
    Drain,
    /// The daemon was stopped by force with open connections.
    ForcedStop,
    /// The daemon was killed with open connections.
    Kill,
    /// Each byte was transferred, on a forward with warm sessions, with a shared session, on a Unix
    /// socket.
    ServedWarm,
    ServedShared,
    ServedUnix,
    /// All connections were in use when a client came.
    Crowd,
}

impl Happening {
    pub(super) const ALL: [Self; 18] = [
        Self::CloseInFlight,
        Self::OutageInFlight,
        Self::Resume,
        Self::ResumeAfterSuspend,
        Self::IdleTimeout,
        Self::FailedCall,
        Self::Panic,
        Self::BadDisk,
        Self::BadProvider,
        Self::Reload,
        Self::FailedReload,
        Self::Drain,
        Self::ForcedStop,
        Self::Kill,
        Self::ServedWarm,
        Self::ServedShared,
        Self::ServedUnix,
        Self::Crowd,
    ];
}

/// Counts a happening.
pub(super) fn count(happening: Happening) {
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(happening).or_default() += 1;
}

/// Returns how often everything has happened, in all lives of the process.
pub(super) fn counts() -> Vec<(Happening, u32)> {
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |happening| counts.get(&happening).copied().unwrap_or_default();
    Happening::ALL
        .into_iter()
        .map(|happening| (happening, of(happening)))
        .collect()
}
