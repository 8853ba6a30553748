//! Arguments, exit codes, sentences for a human.

pub mod simulate;
