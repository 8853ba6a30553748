//! Faults of former versions, planted again: the lives in virtual time (`daemon/lives`) must find
//! each of them. They are active on a thread that asks for one, in unit tests only.

use std::cell::Cell;

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
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
}

impl Mutant {
    /// All mutants.
    pub const ALL: [Self; 6] = [
        Self::DroppedDeadline,
        Self::SilentDeadline,
        Self::KeepAliveLoop,
        Self::WindowLeak,
        Self::LockAcrossProvider,
        Self::DeadDispatcher,
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
