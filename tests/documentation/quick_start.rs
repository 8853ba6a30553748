//! The first commands of the README work, with the results that it shows.

use std::net::SocketAddr;

use ssm_proxyd::sim::ServerKind;

use super::{blocks, shipped};
use crate::cli::ended;
use crate::support::daemon_process::{File, assert_echo, connect};
use crate::support::in_process::destination;
use crate::support::process::{Process, ssm_proxyd};
use crate::support::simulator_process::SimulatorProcess;

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_forwards_a_port_and_prints_the_line_of_the_readme() {
    let section = section("## Quick start");
    let command = blocks(&section, "sh")[0].clone();
    let ready_line = blocks(&section, "text")[0].clone();
    let echo = destination(ServerKind::Echo).await;
    let map = format!("orders.internal:5432={}", echo.address());
    let simulator = SimulatorProcess::start(&["--map", &map]);
    let arguments = command.strip_prefix("ssm-proxyd ").unwrap();
    let arguments = arguments.replace("-L 5432:", "-L 0:");
    let mut program = ssm_proxyd();
    with_credentials(&mut program, &simulator);

    let mut forward = Process::start(program.args(arguments.split_whitespace()));

    let line = forward.stdout.wait_for(" -> ");
    let first: SocketAddr = line.split(", ").next().unwrap().parse().unwrap();
    let port = format!(":{}", first.port());
    assert_eq!(line.replace(&port, ":5432"), ready_line);
    assert_echo(&mut connect(first), b"hello");
    forward.signal("INT");
    assert_eq!(forward.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_readme_serves() {
    let section = section("## The file");
    let echo = destination(ServerKind::Echo).await;
    let map = format!("orders.internal:5432={}", echo.address());
    let simulator = SimulatorProcess::start(&["--map", &map]);
    let text = blocks(&section, "toml")[0].replace("= 5432 ", "= 0 ");
    let file = File::new(&text);
    let mut program = ssm_proxyd();
    with_credentials(&mut program, &simulator);

    let mut daemon = Process::start(program.args(["run", "--config"]).arg(file.path()));

    let line = daemon.stderr.wait_for("listening");
    let (_, address) = crate::support::daemon_process::listening(&line);
    assert_echo(&mut connect(address), b"hello");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[test]
fn the_policy_of_the_readme_is_that_of_its_file() {
    let file = File::new(&blocks(&section("## The file"), "toml")[0]);
    let mut command = ssm_proxyd();

    let (code, policy, _) = ended(command.args(["iam-policy", "--config"]).arg(file.path()));

    assert_eq!(code, 0);
    assert_eq!(
        policy.trim_end(),
        blocks(&section("## Permissions"), "json")[0]
    );
}

/// A section of the README.
fn section(heading: &str) -> String {
    let text = shipped("README.md".as_ref());
    let (_, from) = text.split_once(&format!("\n{heading}\n")).unwrap();
    from.split("\n## ").next().unwrap().to_owned()
}

fn with_credentials(command: &mut std::process::Command, simulator: &SimulatorProcess) {
    command
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
}
