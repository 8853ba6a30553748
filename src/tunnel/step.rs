//! What a tunnel that is not ready waits for.

use super::error::Error;
use crate::printable::Printable;

/// A step that must complete before a tunnel is ready.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name, as a noun.
    pub name: Printable,
    /// What the user can do about it, if it failed; empty if no error is known.
    pub hint: &'static str,
}

impl Step {
    /// A step in progress.
    pub fn of(name: &str) -> Self {
        Self {
            name: name.into(),
            hint: "",
        }
    }

    /// A step that has failed and is retried.
    pub(super) fn failed(name: &str, error: &Error) -> Self {
        Self {
            name: Printable::of(format_args!("{name} ({error})")),
            hint: error.hint(),
        }
    }
}
