//! What several test files stand on.

pub(crate) mod process;
pub(crate) mod stage;
pub(crate) mod transfer;
