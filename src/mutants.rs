//! Planted faults, most of former versions: the lives in virtual time (`daemon/lives`) must find each
//! of them. And limits that a life can reach. Both are active on a thread that asks for them, in unit
//! tests only.

use std::cell::Cell;

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    static HAS_SMALL_BUFFERS: Cell<bool> = const { Cell::new(false) };
}

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The pool forgets a deadline that has passed when it is asked for the next one.
    DroppedDeadline,
    /// The deadline of a websocket is moved to an earlier time, and nobody is woken.
    SilentDeadline,
    /// The next keep-alive is due at once while the last one waits to be sent.
    KeepAliveLoop,
    /// Bytes count twice towards the upload window after a resume.
    WindowLeak,
    /// Calls wait for a credential provider although there are valid credentials.
    LockAcrossProvider,
    /// After a panic, the dispatcher terminates no more sessions.
    DeadDispatcher,
    /// A session is given up after three seconds without a websocket.
    HastyResume,
    /// A reload resets the open connections of the forwards that it replaces.
    ResetByReload,
    /// A draining daemon still accepts connections.
    DeafDrain,
    /// Nobody is woken when a client has read what had stopped the websocket.
    SilentRoom,
}

impl Mutant {
    /// All mutants.
    pub const ALL: [Self; 10] = [
        Self::DroppedDeadline,
        Self::SilentDeadline,
        Self::KeepAliveLoop,
        Self::WindowLeak,
        Self::LockAcrossProvider,
        Self::DeadDispatcher,
        Self::HastyResume,
        Self::ResetByReload,
        Self::DeafDrain,
        Self::SilentRoom,
    ];

    /// Returns true if this fault is active on this thread.
    pub fn is_active(self) -> bool {
        ACTIVE.get() == Some(self)
    }
}

/// Activates a fault on this thread, or none.
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Sets whether received bytes stop the input of a tunnel at small limits on this thread.
pub fn set_small_buffers(is_small: bool) {
    HAS_SMALL_BUFFERS.set(is_small);
}

/// Returns `limit`, or a small one.
pub fn limit(limit: usize) -> usize {
    match HAS_SMALL_BUFFERS.get() {
        true => limit / SMALLER,
        false => limit,
    }
}

const SMALLER: usize = 128;
