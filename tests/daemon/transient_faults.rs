//! Transient failures: a connection waits until they are over, within `connect_timeout`.

use std::io::copy;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use ssm_proxyd::sim::{ApiFault, Credentials, Operation, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, caller, connect, forward, forward_to,
    free_address,
};
use crate::support::fake_api::Api;
use crate::support::in_process::destination;
use crate::support::process::ssm_proxyd;

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_start_session_is_retried_twice() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));
    let fail = |times| {
        let code = "InternalServerError".to_owned();
        let times = Some(times);
        simulator.fail(Operation::StartSession, ApiFault { code, times });
    };

    fail(2);
    assert_echo(&mut connect(daemon.address()), b"hello");
    fail(3);
    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert_names(&line, &["InternalServerError", "connection reset"]);
    let log = daemon.stop(&simulator);
    assert_eq!(log.matches("connection reset").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_from_a_load_balancer_is_retried() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let unavailable = || (503, "no server is available".to_owned());
    let api = Api::before_with(simulator.address(), move |number| {
        (number == 0).then(unavailable)
    });
    let text = forward_to(echo.address());
    let daemon = DaemonProcess::launch(caller(&simulator), &api.endpoint(), &text);

    assert_echo(&mut connect(daemon.address()), b"hello");

    assert_eq!(api.calls("StartSession").len(), 2);
    let log = daemon.stop(&simulator);
    assert!(!log.contains("connection reset"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_waits_for_a_service_that_refuses_connections() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let address = free_address();
    let mut command = caller(&simulator);
    command.env("SSM_PROXYD_LOG", "debug");
    let endpoint = format!("http://{address}");
    let mut daemon = DaemonProcess::launch(command, &endpoint, &forward_to(echo.address()));

    let mut client = connect(daemon.address());
    let line = daemon
        .process
        .stderr
        .wait_for("StartSession failed; retrying");
    relay(address, simulator.address());

    assert_echo(&mut client, b"hello");
    assert_names(&line, &["cannot reach the SSM API"]);
    drop(client);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_service_is_reported_within_connect_timeout() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let endpoint = format!("http://{}", free_address());
    let text = forward("f", "remote = 1\nconnect_timeout = \"2s\"");
    let mut daemon = DaemonProcess::launch(caller(&simulator), &endpoint, &text);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert_names(&line, &["cannot reach the SSM API", "hint="]);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_token_service_is_retried() {
    let echo = destination(ServerKind::Echo).await;
    let credentials = Credentials {
        access_key_id: "ASIAROLE".to_owned(),
        secret_access_key: "not-a-secret".to_owned(),
        session_token: Some("of-the-role".to_owned()),
    };
    let options = Options {
        credentials,
        require_signature: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let real = Api::sts(&simulator.options().credentials);
    let count = AtomicUsize::new(0);
    let real_address = real.endpoint().replace("http://", "").parse().unwrap();
    let sts = Api::before_with(real_address, move |_| {
        (count.fetch_add(1, Relaxed) == 0).then(|| (503, "busy".to_owned()))
    });
    let mut command = ssm_proxyd();
    command.env("AWS_ENDPOINT_URL_STS", sts.endpoint());
    let keys = format!(
        "remote = {}\nrole_arn = \"arn:aws:iam::111122223333:role/tunnel\"",
        echo.address().port()
    );
    let daemon = DaemonProcess::launch(command, &simulator.endpoint(), &forward("f", &keys));

    assert_echo(&mut connect(daemon.address()), b"hello");

    assert_eq!(sts.calls("AssumeRole").len(), 2);
    let log = daemon.stop(&simulator);
    assert!(!log.contains("connection reset"), "{log}");
}

/// Listens at `address` from now on, and passes connections on to `real`.
pub(super) fn relay(address: SocketAddr, real: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            pass_on(client, real);
        }
    });
}

/// Carries the bytes of a connection to `real` and back.
pub(super) fn pass_on(mut client: TcpStream, real: SocketAddr) {
    let mut upstream = TcpStream::connect(real).unwrap();
    let (mut client_clone, mut upstream_clone) =
        (client.try_clone().unwrap(), upstream.try_clone().unwrap());
    thread::spawn(move || copy(&mut client, &mut upstream));
    thread::spawn(move || copy(&mut upstream_clone, &mut client_clone));
}
