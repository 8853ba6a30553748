//! Performance measurements: one binary, a table for each question.
//!
//! ```text
//!   cargo bench                      everything, in about ten minutes
//!   cargo bench -- core throughput   these parts only
//! ```
//!
//! A single binary, because each one would link the AWS SDK. Slow results are not failures: the
//! tables are for reading. Client, daemon, service, agent and destination share one process and one
//! runtime, and so do the baselines.

#![expect(
    clippy::disallowed_methods,
    reason = "benches read the clock and the command line"
)]

#[cfg(test)]
mod baseline_relay;
#[cfg(test)]
mod core;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod idle;
#[cfg(test)]
#[path = "../support/in_process.rs"]
#[expect(dead_code, reason = "tests need more of it than benches")]
mod in_process;
#[cfg(test)]
mod latency;
#[cfg(test)]
mod observation;
#[cfg(test)]
mod pace;
#[cfg(test)]
mod path_latency;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod session_setup;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod stats;
#[cfg(test)]
mod throughput;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` builds this too, and only checks that it starts.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let parts: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    run(|part| parts.is_empty() || parts.iter().any(|requested| *requested == part));
}

#[cfg(not(test))]
fn run(_requested: impl Fn(&str) -> bool) {}

#[cfg(test)]
fn run(requested: impl Fn(&str) -> bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Ok(service) = std::env::var(processes::NEAR_END) {
        return runtime.block_on(processes::run_near_end(service.parse().unwrap()));
    }
    if requested("core") {
        core::run();
    }
    if requested("throughput") {
        runtime.block_on(throughput::run());
    }
    if requested("latency") {
        runtime.block_on(latency::run());
    }
    if requested("pace") {
        runtime.block_on(pace::run());
    }
    if requested("cost") {
        runtime.block_on(cost::run());
    }
    if requested("recovery") {
        runtime.block_on(recovery::run());
    }
    if requested("idle") {
        runtime.block_on(idle::run());
    }
    if requested("observation") {
        runtime.block_on(observation::run());
    }
    if requested("session_setup") {
        runtime.block_on(session_setup::run());
    }
    if requested("relay") {
        runtime.block_on(relay::run());
    }
    if requested("shared") {
        runtime.block_on(shared::run());
    }
}
