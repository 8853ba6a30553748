//! Faults of this machine: the file and the local addresses.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Command;

use ssm_proxyd::sim::ServerKind;

use super::*;
use crate::support::daemon_process::{DaemonProcess, free_address, is_root};
use crate::support::in_process::destination;
use crate::support::process::behind;

#[tokio::test(flavor = "multi_thread")]
async fn everything_passes_and_nothing_is_left() {
    let simulator = simulator(|options| options.require_signature = true).await;
    let echo = destination(ServerKind::Echo).await;

    let examined = examine(&simulator, &forward(echo.address().port()));

    examined.assert_as("passes");
    assert_eq!(simulator.ledger().started, 1);
    assert!(simulator.ledger().sessions[0].terminate_called);
    assert_clean(&simulator);
}

#[test]
fn there_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = ssm_proxyd();
    command.env("HOME", directory.path());
    command.env("XDG_CONFIG_HOME", directory.path());

    finish(command.arg("doctor")).assert_as("no-file");
}

#[test]
fn the_file_is_not_toml() {
    examine_by(ssm_proxyd(), "[[forward]\n", &[]).assert_as("bad-file");
    // A target needs no forwards in it, but the rest of it.
    examine_by(ssm_proxyd(), "[[forward]\n", &[TARGET]).assert_as("bad-file");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_region_of_a_cluster_is_that_of_its_arn() {
    let simulator = simulator(|_| {}).await;
    let arn = "arn:aws:ecs:eu-west-1:111122223333:cluster/prod";
    let target = format!("{{ ecs = {{ cluster = \"{arn}\", service = \"web\" }} }}");
    let text = with_endpoint(
        &simulator,
        &forward_with(&format!("target = {target}\nremote = 1\n")),
    );
    let examined = |region| {
        let arguments = ["f", "--region", region, "--check-timeout", "10s"];
        examine_by(caller(&simulator), &text, &arguments).stderr
    };

    let (other, same) = (examined("us-east-1"), examined("eu-west-1"));

    assert!(
        other.contains("is in eu-west-1, as its ARN says"),
        "{other}"
    );
    assert!(!same.contains("note:"), "{same}");
}

#[test]
fn the_file_has_unknown_keys() {
    let text = forward_with(&format!(
        "targt = \"{TARGET}\"\nremote = 1\nsesions = \"shared\"\n"
    ));

    examine_by(ssm_proxyd(), &text, &[]).assert_as("unknown-key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_held_by_another_process() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let text = forward(echo.address().port()).replace("127.0.0.1:0", &address);

    let mut examined = examine(&simulator, &text);

    let own = fs::read_to_string("/proc/self/comm").unwrap();
    let named = format!("by process {} ({})", std::process::id(), own.trim());
    examined.assert_says("FAIL", "listen", &named);
    examined.stdout = examined.stdout.replace(own.trim(), "COMMAND");
    examined.assert_as("port-held");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_held_by_another_process() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let _holder = UnixListener::bind(&path).unwrap();
    let listen = format!("unix:{}", path.display());
    let text = forward(echo.address().port()).replace("127.0.0.1:0", &listen);

    let examined = examine(&simulator, &text);

    let named = format!("by process {}", std::process::id());
    examined.assert_says("FAIL", "listen", &named);
    assert_eq!(examined.code, 71);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_a_unix_socket_does_not_exist() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let listen = "unix:/nowhere/of/doctor/db.sock";
    let text = forward(echo.address().port()).replace("127.0.0.1:0", listen);

    examine(&simulator, &text).assert_as("no-directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_the_running_daemon_holds_is_fine() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let admin = format!("[admin]\nsocket = \"{}\"\n", socket.display());
    let address = free_address().to_string();
    let forward = forward(echo.address().port()).replace("127.0.0.1:0", &address);
    let daemon = DaemonProcess::start(&simulator, &format!("{admin}{forward}"));

    let examined = examine(&simulator, &format!("{admin}{forward}"));

    examined.assert_as("port-of-daemon");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_port_needs_a_privilege() {
    let drop = [
        "--bounding-set",
        "-net_bind_service",
        "--inh-caps",
        "-net_bind_service",
    ];
    let trial = Command::new("setpriv").args(drop).arg("true").status();
    if !is_root() || !trial.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: not root, or setpriv is not installed");
        return;
    }
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let text = forward(echo.address().port()).replace("127.0.0.1:0", "127.0.0.9:80");
    let mut command = behind("setpriv", &drop);
    let credentials = &simulator.options().credentials;
    command
        .env("AWS_ACCESS_KEY_ID", &credentials.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key);

    let examined = examine_by(command, &with_endpoint(&simulator, &text), &[]);

    examined.assert_as("low-port");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_target_is_a_usage_error() {
    let simulator = simulator(|_| {}).await;
    let text = with_endpoint(&simulator, &forward(1));

    let examined = examine_by(caller(&simulator), &text, &["i-12"]);

    assert_eq!(examined.code, 2);
    let stderr = &examined.stderr;
    assert!(stderr.contains("CONFIG: f"), "{stderr}");
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_forward_is_that_of_a_node() {
    let simulator = simulator(|_| {}).await;
    let text = with_endpoint(&simulator, &forward(1));

    let examined = examine_by(caller(&simulator), &text, &["bastion"]);

    examined.assert_says("FAIL", "target", "Name=bastion is not a managed node");
    assert_eq!(examined.code, 69);
}
