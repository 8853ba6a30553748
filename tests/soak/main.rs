//! The soak test: websockets that break all the time, connections that open and close.
//!
//! ```text
//!   cargo bench --bench soak                  thirty minutes
//!   cargo bench --bench soak -- --minutes 2
//! ```
//!
//! The daemon runs in this process, so that its tasks can be counted; the simulator in a child
//! process. Every websocket is closed with code 1000 after a few seconds, as the service does each
//! hour. A line is printed at intervals, and at the end the resources before and after. It fails if
//! a resource was leaked, or if a byte was wrong.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock and the command line"
)]

#[cfg(test)]
mod run;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` builds this too, and only checks that it starts.
    if arguments.iter().any(|argument| argument == "--bench") {
        run(&arguments);
    }
}

#[cfg(not(test))]
fn run(_arguments: &[String]) {}

#[cfg(test)]
fn run(arguments: &[String]) {
    let minutes = arguments.iter().skip_while(|a| *a != "--minutes").nth(1);
    let minutes = minutes.map_or(30, |minutes| {
        minutes.parse().expect("expected a number of minutes")
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run::run(std::time::Duration::from_secs(60 * minutes)));
}
