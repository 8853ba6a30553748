//! The first websocket of a session: cancelled while it is dialled, and refused for its
//! credentials.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;
use ssm_proxyd::sim::{Faults, Options, RefusedUpgrades, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, connect, forward, forward_to,
};
use crate::support::fake_api::Api;
use crate::support::in_process::{destination, until};
use crate::support::process::ssm_proxyd;

/// The event that makes the websocket unnecessary.
#[derive(Clone, Copy, Debug)]
enum End {
    /// `connect_timeout` has passed.
    Late,
    /// The daemon stops.
    Stopped,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_cancelled_while_it_dials_ends_its_session() {
    for end in [End::Late, End::Stopped] {
        let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Api::starting(session_at(gateway.local_addr().unwrap()));
        let keys = match end {
            End::Late => "remote = 1\nconnect_timeout = \"1s\"",
            End::Stopped => "remote = 1\nconnect_timeout = \"5m\"",
        };
        let mut daemon = DaemonProcess::launch(ssm_proxyd(), &api.endpoint(), &forward("f", keys));
        let client = connect(daemon.address());
        // It is accepted and never answered.
        let (_dialled, _) = gateway.accept().unwrap();

        match end {
            End::Late => assert_reset(client),
            End::Stopped => daemon.process.signal("TERM"),
        }

        until("its session is ended", || {
            api.calls("TerminateSession").len() == 1
        })
        .await;
        // A dial takes 15 s at most: the session must be ended before.
        gateway.set_nonblocking(true).unwrap();
        assert!(gateway.accept().is_err(), "{end:?}: dialled again");
        if matches!(end, End::Late) {
            daemon.process.signal("TERM");
        }
        assert_eq!(daemon.process.exit_code(), 0, "{end:?}");
        let log = daemon.process.stderr.all();
        assert_names(&log, &["all sessions are terminated"]);
        assert_eq!(api.calls("StartSession").len(), 1, "{end:?}");
        assert_eq!(api.calls("TerminateSession").len(), 1, "{end:?}");
    }
}

/// The user logs in between StartSession and the upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upgrade_is_retried_once_with_the_credentials_of_the_files() {
    let echo = destination(ServerKind::Echo).await;
    let refused = RefusedUpgrades {
        status: 403,
        times: Some(1),
    };
    let options = Options {
        faults: Faults {
            refuse_upgrades: Some(refused),
            ..Faults::default()
        },
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let keys = tempfile::NamedTempFile::new().unwrap();
    let path = keys.path().to_owned();
    let credentials = simulator.options().credentials.clone();
    let login = move |id: &str| {
        let secret = &credentials.secret_access_key;
        let text =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        std::fs::write(&path, text).unwrap();
    };
    login("AKIDOLD");
    let valid = simulator.options().credentials.access_key_id.clone();
    let api = Api::before_with(simulator.address(), move |number| {
        if number == 0 {
            login(&valid);
        }
        None
    });
    let mut command = ssm_proxyd();
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_SHARED_CREDENTIALS_FILE", keys.path());
    let mut daemon = DaemonProcess::launch(command, &api.endpoint(), &forward_to(echo.address()));

    assert_echo(&mut connect(daemon.address()), b"hello");
    // An earlier stop would warn about a connection that is still open.
    daemon.process.stderr.wait_for("ended by the client");

    let log = daemon.stop(&simulator);
    assert!(!log.contains("WARN"), "{log}");
    let ledger = simulator.ledger();
    assert_eq!(api.calls("StartSession").len(), 1);
    assert_eq!(ledger.refused_upgrades, [(403, 1)].into());
    let expected = ["wrong: unknown access key", "valid"];
    assert_eq!(ledger.sessions[0].upgrade_signatures, expected);
}

fn session_at(gateway: SocketAddr) -> String {
    json!({
        "SessionId": "me-0",
        "StreamUrl": format!("ws://{gateway}/v1/data-channel/me-0"),
        "TokenValue": "token",
    })
    .to_string()
}
