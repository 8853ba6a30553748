//! The binary as a process: start, service, failures and shutdown.
//!
//! The simulator runs in the test process, so that its ledger can be read; the daemon is a child
//! process, so that its exit code, its log and its sockets are those that a user has.

mod access_log;
mod activation;
mod admin;
mod aws_accounts;
mod certificates;
mod container;
mod disconnects;
mod documents;
mod drain;
mod ecs;
mod environment;
mod failures;
mod foreign_text;
mod gateway;
mod hostile_agent;
mod hostile_clients;
mod http;
mod identity;
mod independent;
mod log;
mod log_not_read;
mod providers;
mod proxied_credentials;
mod proxy;
mod rate_limiting;
mod reload;
mod reload_blocked;
mod reload_stress;
mod secrets;
mod signals;
mod sso_cache;
mod start;
mod systemd;
mod target_names;
mod targets;
mod transient_credentials;
mod transient_faults;
mod upgrades;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, File, assert_echo, caller, connect, forward, forward_to, listening,
};
use crate::support::fake_api::Api;
use crate::support::in_process::{destination, until};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn several_forwards_serve_their_own_destinations_at_once() {
    let (echo, web) = (
        destination(ServerKind::Echo).await,
        destination(ServerKind::Http).await,
    );
    let mut options = Options::default();
    options
        .resolver
        .insert("web.internal", None, web.address())
        .unwrap();
    let simulator = Simulator::start(options).await.unwrap();
    let text = [
        forward_to(echo.address()),
        forward("web", "remote = \"web.internal:80\""),
    ];
    let daemon = DaemonProcess::start(&simulator, &text.concat());
    let mut first = connect(daemon.address_of("f"));
    let mut second = connect(daemon.address_of("web"));
    let mut third = connect(daemon.address_of("f"));

    assert_echo(&mut third, b"third");
    let status = ask_for_status(&mut second);
    assert_echo(&mut first, b"first");

    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(simulator.open_sessions(), 3);
    drop((first, second, third));
    daemon.stop(&simulator);
    assert_eq!(simulator.ledger().started, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_may_come_from_the_environment() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        require_signature: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let text = forward_to(echo.address());
    let file = File::new(&format!("[aws]\nregion = \"us-east-1\"\n{text}"));
    let mut command = caller(&simulator);
    command
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
        .env("SSM_PROXYD_CONFIG", file.path())
        .arg("run");
    let mut process = Process::start(&mut command);
    let (_, address) = listening(&process.stderr.wait_for("listening"));

    assert_echo(&mut connect(address), b"hello");

    process.signal("INT");
    assert_eq!(process.exit_code(), 0);
    assert_eq!(simulator.open_sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_does_not_keep_its_permit() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let api = Api::before(simulator.address(), 1);
    let keys = "max_connections = 1\nconnect_timeout = \"10m\"\n";
    let text = forward_to(echo.address()) + keys;
    let daemon = DaemonProcess::launch(caller(&simulator), &api.endpoint(), &text);

    let pending = connect(daemon.address());
    until("its call has arrived", || {
        !api.calls("StartSession").is_empty()
    })
    .await;
    drop(pending);

    assert_echo(&mut connect(daemon.address()), b"patience");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_daemon_can_restart_immediately_on_its_port() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let first = DaemonProcess::start(&simulator, &forward_to(echo.address()));
    let address = first.address();
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");
    first.stop(&simulator);
    let same_port = forward_to(echo.address()).replace("127.0.0.1:0", &address.to_string());

    let second = DaemonProcess::start(&simulator, &same_port);

    assert_echo(&mut connect(address), b"again");
    second.stop(&simulator);
}

/// Sends an HTTP request and returns the first line of the response.
fn ask_for_status(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let line = BufReader::new(client).lines().next();
    line.unwrap().unwrap()
}
