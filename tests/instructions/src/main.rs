//! Counts the instructions of the core's hot paths, for each message and without its digests, and
//! compares them with `baseline.txt`.
//!
//! ```text
//!   instructions             compares; fails if a path needs a quarter more than before
//!   instructions --write     writes the baseline
//!   instructions WORKLOAD    does the work; called by the above under valgrind
//! ```
//!
//! Unlike times, instructions are the same on a busy machine. valgrind hides the instructions of the
//! processor for SHA-256, so the digests, which would be most of the work, are counted alone and
//! subtracted.

#[path = "../../../src/sim/agent/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only the core is called")]
mod agent;
#[path = "../../../src/error_class.rs"]
#[expect(dead_code, reason = "only the core is called")]
mod error_class;
#[path = "../../../src/printable.rs"]
#[expect(dead_code, reason = "only the core is called")]
mod printable;
#[path = "../../../src/proto/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only the core is called")]
mod proto;
#[path = "../../../src/wire/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only the core is called")]
mod wire;

mod count;
mod pair;
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        None => count::compare(),
        Some("--write") => count::write(),
        Some(name) => workload::run(name),
    }
}
