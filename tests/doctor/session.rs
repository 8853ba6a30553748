//! Faults after StartSession: websocket, handshake, destination, and the end.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::json;
use ssm_proxyd::sim::{ApiFault, Faults, Operation, RefusedUpgrades, ServerKind};
use tokio_tungstenite::tungstenite::{Message, accept};

use super::network::black_hole;
use super::*;
use crate::relay::Relay;
use crate::support::daemon_process::free_address;
use crate::support::fake_api::Api;
use crate::support::in_process::{destination, unpaced};
use crate::support::message_builder::{channel_closed, gateway, handshake_request};

/// An API whose sessions are at this gateway.
fn sessions_at(gateway: SocketAddr) -> Api {
    let session = json!({
        "SessionId": "simulator-0123",
        "StreamUrl": format!("ws://{gateway}/v1/data-channel/simulator-0123"),
        "TokenValue": "token",
    });
    Api::by(move |operation, _| match operation {
        "StartSession" => (200, session.to_string()),
        other => describe(other),
    })
}

/// Examines a forward whose data channel is served by this function.
fn with_gateway(serve: fn(TcpStream)) -> Examined {
    let api = sessions_at(gateway(serve));
    let text = file(&api.endpoint(), &forward(1));
    let examined = examine_by(ssm_proxyd(), &text, &["--check-timeout", "3s"]);
    assert_eq!(
        api.calls("TerminateSession").len(),
        1,
        "{}",
        examined.stdout
    );
    examined
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upgrade_is_denied() {
    let simulator = simulator(|_| {}).await;
    refuse(&simulator, 403);

    examine(&simulator, &forward(1)).assert_as("upgrade-403");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upgrade_fails() {
    let simulator = simulator(|_| {}).await;
    refuse(&simulator, 503);

    examine(&simulator, &forward(1)).assert_as("upgrade-503");
    assert_clean(&simulator);
}

fn refuse(simulator: &Simulator, status: u16) {
    let times = None;
    simulator.set_faults(Faults {
        refuse_upgrades: Some(RefusedUpgrades { status, times }),
        ..Faults::default()
    });
}

#[test]
fn the_upgrade_is_not_answered() {
    with_gateway(|stream| {
        thread::sleep(Duration::from_secs(60));
        drop(stream);
    })
    .assert_as("upgrade-hangs");
}

#[test]
fn the_upgrade_is_answered_by_something_else() {
    with_gateway(|mut stream| {
        let _gone = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        thread::sleep(Duration::from_secs(60));
    })
    .assert_as("upgrade-plain-text");
}

#[test]
fn the_first_message_is_invalid() {
    with_gateway(|stream| {
        let Ok(mut websocket) = accept(stream) else {
            return;
        };
        let _gone = websocket.send(Message::Text("<html>".into()));
        thread::sleep(Duration::from_secs(60));
    })
    .assert_as("bad-frame");
}

#[test]
fn the_agent_is_silent() {
    with_gateway(|stream| {
        let websocket = accept(stream);
        thread::sleep(Duration::from_secs(60));
        drop(websocket);
    })
    .assert_as("handshake-silent");
}

#[test]
fn the_agent_requires_encryption() {
    with_gateway(|stream| {
        let Ok(mut websocket) = accept(stream) else {
            return;
        };
        let kms = ",{\"ActionType\":\"KMSEncryption\",\"ActionParameters\":{\"KMSKeyId\":\"key\"}}";
        let request = handshake_request(0, "3.3.987.0", kms);
        let _gone = websocket.send(Message::Binary(request));
        // The opening message, and the response to the handshake.
        let _read = (websocket.read(), websocket.read());
        let text = "Encountered error while initiating handshake. KMSEncryption failed on client";
        let _gone = websocket.send(Message::Binary(channel_closed(text)));
        while websocket.read().is_ok() {}
    })
    .assert_as("kms-required");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_refuses() {
    let simulator = simulator(|_| {}).await;

    let examined = examine(&simulator, &forward(free_address().port()));

    examined.assert_as("destination-refused");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_a_proxy_choose_the_destination() {
    let simulator = simulator(|_| {}).await;
    let text = format!(
        "[[proxy]]\nname = \"p\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{TARGET}\"\n\
         allow = [\"*.internal:443\"]\n"
    );

    examine(&simulator, &text).assert_as("proxy-for-clients");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_is_unknown() {
    let simulator = simulator(|_| {}).await;
    let text = forward_with(&format!(
        "target = \"{TARGET}\"\nremote = \"nowhere.internal:5432\"\n"
    ));

    examine(&simulator, &text).assert_as("destination-unknown");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_is_forbidden() {
    let simulator = simulator(|_| {}).await;
    let text = forward_with(&format!(
        "target = \"{TARGET}\"\nremote = \"169.254.169.254:80\"\n"
    ));

    examine(&simulator, &text).assert_as("destination-forbidden");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_does_not_answer_the_target() {
    let (address, _sockets) = black_hole();
    let simulator = simulator(|options| {
        let resolver = &mut options.resolver;
        resolver.insert("db.internal", None, address).unwrap();
    });
    let simulator = simulator.await;
    let text = forward_with(&format!(
        "target = \"{TARGET}\"\nremote = \"db.internal:5432\"\n"
    ));

    let text = with_endpoint(&simulator, &text);
    let examined = examine_by(caller(&simulator), &text, &["--check-timeout", "4s"]);

    examined.assert_as("destination-timed-out");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_speaks_first() {
    let simulator = simulator(|_| {}).await;
    let greeting = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = greeting.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut client, _) = greeting.accept().unwrap();
        client.write_all(b"220 mail\r\n").unwrap();
        let _ended = std::io::copy(&mut client, &mut std::io::sink());
    });

    let examined = examine(&simulator, &forward(port));

    examined.assert_says("PASS", "destination", "speaks first (10 B)");
    assert_eq!(examined.code, 0);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_closes_at_once() {
    let simulator = simulator(|_| {}).await;
    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closing.local_addr().unwrap().port();
    thread::spawn(move || drop(closing.accept()));

    let examined = examine(&simulator, &forward(port));

    examined.assert_says("PASS", "destination", "closed the connection at once");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_denied() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let code = "AccessDeniedException".to_owned();
    simulator.fail(Operation::TerminateSession, ApiFault { code, times: None });

    examine(&simulator, &forward(echo.address().port())).assert_as("end-denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_a_file_is_examined_like_connect() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let directory = tempfile::tempdir().unwrap();
    let mut command = caller(&simulator);
    command
        .env("HOME", directory.path())
        .env("XDG_CONFIG_HOME", directory.path())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint());
    let port = echo.address().port();
    let remote = format!("localhost:{port}");

    let examined = finish(command.args(["doctor", TARGET, "--remote", &remote]));

    examined.assert_as("target-without-file");
    assert_clean(&simulator);
}

/// The destination is known to the relay only.
#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_a_forward_with_a_relay_leads_to_the_relay() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let port = relay.address.port();
    let keys = format!("target = \"{TARGET}\"\nremote = \"db.internal:5432\"\nrelay = {port}\n");

    let examined = examine(&simulator, &forward_with(&keys));

    assert_eq!(examined.code, 0, "{}{}", examined.stdout, examined.stderr);
    let sessions = simulator.ledger().sessions;
    assert_eq!(sessions[0].document, "AWS-StartPortForwardingSession");
    assert_clean(&simulator);
}
