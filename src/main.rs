//! Calls `cli` and turns its outcome into an exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ssm_proxyd::cli::simulate;

#[derive(Parser)]
enum Command {
    /// A loopback SSM service and agent, for tests of clients
    Simulate(simulate::Args),
}

fn main() -> ExitCode {
    let Command::Simulate(args) = Command::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    match runtime.block_on(simulate::run(args, std::future::pending())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
