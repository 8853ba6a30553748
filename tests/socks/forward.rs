//! `forward -D`, and commands that cannot use a proxy.

use std::net::SocketAddr;
use std::process::Command;

use ssm_proxyd::sim::{ServerKind, Simulator};

use super::{open, proxy, simulator};
use crate::cli::ended;
use crate::support::daemon_process::{File, assert_clean, assert_echo, caller};
use crate::support::in_process::{TARGET, destination};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_forwards_reach_every_destination_beside_others() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["echo.internal"], echo.address()).await;
    let port = echo.address().port();
    let local = format!("127.0.0.1:0:echo.internal:{port}");
    let arguments = [
        "forward",
        TARGET,
        "-D",
        "127.0.0.1:0",
        "-D",
        "127.0.0.1:0",
        "-L",
        &local,
    ];
    let mut forward = Process::start(&mut command(&simulator, &arguments));

    let fixed = forward.stdout.wait_for(" -> echo.internal:");
    let first = forward.stdout.wait_for(" -> proxy to *:*");
    let second = forward.stdout.wait_for(" -> proxy to *:*");

    assert!(
        !fixed.is_empty() && first.ends_with(&format!(" via {TARGET}")),
        "{first}"
    );
    assert_ne!(first, second);
    assert_echo(&mut open(address(&first), "echo.internal", 7), b"beyond it");
    assert_echo(
        &mut open(address(&second), "localhost", port),
        b"the target",
    );
    forward.signal("INT");
    assert_eq!(forward.exit_code(), 0);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dynamic_forward_is_reachable_from_this_machine_only_unless_that_is_wanted() {
    let simulator = Simulator::start(Default::default()).await.unwrap();
    for (arguments, part) in [
        (
            &["-D", "*:0"][..],
            "-D *:0: other machines could connect to it",
        ),
        (
            &["-D", "1080", "-D", "1080"],
            "another -L or -D has the same address",
        ),
        (
            &["-L", "1080:db:1", "-D", "1080"],
            "another -L or -D has the same address",
        ),
        (&["-D", "1080:db:1"], "write [BIND:]PORT, for example 1080"),
        (&[], "no -L or -D was given"),
    ] {
        let arguments = [&["forward", TARGET], arguments].concat();

        let (code, _, output) = ended(&mut command(&simulator, &arguments));

        assert_eq!(code, 2, "{output}");
        assert!(output.contains(part), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_for_one_destination_say_that_a_proxy_has_none() {
    let source = destination(ServerKind::Source { len: 9, seed: 1 }).await;
    let simulator = simulator(&["source.internal"], source.address()).await;
    let file = File::new(&proxy("\"source.internal:7\"", ""));
    let path = file.path();
    let path = path.to_str().unwrap();
    for arguments in [
        &["connect", "p", "--config", path][..],
        &["exec", "p", "--config", path, "--", "true"],
    ] {
        let (code, _, output) = ended(&mut command(&simulator, arguments));

        assert_eq!(code, 2, "{output}");
        assert!(
            output.contains("is a proxy, whose clients choose the destination"),
            "{output}"
        );
        let is_helpful = ["add --remote", "ALL_PROXY="].map(|text| output.contains(text));
        assert!(is_helpful.contains(&true), "{output}");
    }

    let arguments = [
        "connect",
        "p",
        "--config",
        path,
        "--remote",
        "source.internal:7",
    ];
    let mut connect = Process::start(&mut command(&simulator, &arguments));
    assert_eq!(connect.exit_code(), 0, "{}", connect.stderr.all());
}

fn command(simulator: &Simulator, arguments: &[&str]) -> Command {
    let mut command = caller(simulator);
    command
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
        .env("AWS_REGION", "us-east-1")
        .env("HOME", "/nonexistent")
        .env_remove("XDG_CONFIG_HOME")
        .args(arguments);
    command
}

fn address(line: &str) -> SocketAddr {
    let (address, _) = line.split_once(" -> ").unwrap();
    address.parse().unwrap()
}
