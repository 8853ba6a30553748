//! Calls `cli` and turns its outcome into an exit code.
#![forbid(unsafe_code)]

fn main() {}
