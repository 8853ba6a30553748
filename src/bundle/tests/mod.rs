//! Tests of both ends together, over simulated byte streams in virtual time.

mod apps;
mod confirmation;
mod ends;
mod faults;
mod features;
mod hostile;
mod invariants;
mod latency;
mod link;
mod world;
