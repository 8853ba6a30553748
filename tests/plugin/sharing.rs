//! Connections that share a session.

use std::collections::BTreeMap;

use ssm_proxyd::sim::{
    ApiFault, DisconnectKind, Faults, OneOffFault, Operation, Options, RefusedUpgrades, ServerKind,
};

use super::{Fixture, opened, port_request};
use crate::support::daemon_process::{assert_clean, assert_echo, connect};
use crate::support::in_process::{destination, until};
use crate::support::official_client::start_session_with;
use crate::support::process::Process;

/// Old callers pass three arguments: the session cannot be repeated, so that all connections share
/// it, and its end is the end.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_request_connections_share_the_session_until_its_end() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let request = port_request(echo.address().port());
    let response = start_session_with(&fixture.simulator, &request).await;
    let mut command = fixture.call(&[&response.to_string(), "us-east-1", "StartSession"]);
    command.env("AWS_ENDPOINT_URL_SSM", fixture.simulator.endpoint());
    let mut plugin = Process::start(&mut command);
    let address = opened(&mut plugin);

    let (mut one, mut two) = (connect(address), connect(address));
    assert_echo(&mut one, b"one");
    assert_echo(&mut two, b"two");

    assert_eq!(fixture.simulator.ledger().sessions.len(), 1);
    drop((one, two));
    fixture.end_sessions().await;
    let id = fixture.session_id();
    plugin.stdout.wait_for(&format!("SessionId: {id} : "));
    assert_eq!(plugin.exit_code(), 0);
    assert_clean(&fixture.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_may_let_connections_share_sessions() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let file = fixture.home.path().join("config.toml");
    let text = "[aws]\nregion = \"eu-west-1\"\nrole_arn = \"arn:aws:iam::111122223333:role/other\"\n\
                [defaults]\nsessions = \"shared\"\n";
    std::fs::write(&file, text).unwrap();
    let mut command = fixture.session(&port_request(echo.address().port())).await;
    let mut plugin = Process::start(command.env("SSM_PROXYD_CONFIG", &file));
    let address = opened(&mut plugin);

    let (mut one, mut two) = (connect(address), connect(address));
    assert_echo(&mut one, b"one");
    assert_echo(&mut two, b"two");

    assert_eq!(fixture.simulator.ledger().sessions.len(), 1);
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    fixture.assert_clean();
}

/// No other session can be started: there is no target to start it on.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_request_a_connection_waits_while_the_session_is_resumed() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let request = port_request(echo.address().port());
    let response = start_session_with(&fixture.simulator, &request).await;
    let mut command = fixture.call(&[&response.to_string(), "us-east-1", "StartSession"]);
    command.env("AWS_ENDPOINT_URL_SSM", fixture.simulator.endpoint());
    let mut plugin = Process::start(&mut command);
    let address = opened(&mut plugin);
    let mut one = connect(address);
    assert_echo(&mut one, b"one");

    let resumes = || fixture.simulator.ledger().sessions[0].resumes;
    fixture.simulator.set_faults(Faults {
        refuse_upgrades: Some(RefusedUpgrades {
            status: 503,
            times: None,
        }),
        ..Faults::default()
    });
    let broken = OneOffFault::Break(DisconnectKind::Reset);
    fixture.simulator.inject(None, broken);
    until("the session is being resumed", || resumes() > 0).await;
    let mut two = connect(address);
    until("the second connection has waited", || resumes() > 2).await;
    fixture.simulator.set_faults(Faults::default());

    assert_echo(&mut two, b"two");
    assert_echo(&mut one, b"one again");
    assert_eq!(fixture.simulator.ledger().sessions.len(), 1);
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    let err = plugin.stderr.all();
    assert!(!err.contains("StartSession"), "{err}");
    fixture.assert_clean();
}

/// As the official plugin does, which never starts a session.
#[tokio::test(flavor = "multi_thread")]
async fn connections_share_the_session_if_no_other_one_can_be_started() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut plugin = fixture.port_session(echo.address().port()).await;
    let address = opened(&mut plugin);
    for code in ["ExpiredTokenException", "AccessDeniedException"] {
        let fault = ApiFault {
            code: code.to_owned(),
            times: None,
        };
        fixture.simulator.set_faults(Faults {
            api: BTreeMap::from([(Operation::StartSession, fault)]),
            ..Faults::default()
        });

        let mut clients: Vec<_> = (0..3).map(|_| connect(address)).collect();
        for client in &mut clients {
            assert_echo(client, code.as_bytes());
        }
    }

    assert_eq!(fixture.simulator.ledger().sessions.len(), 1);
    fixture.simulator.set_faults(Faults::default());
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    let err = plugin.stderr.all();
    assert!(err.contains("connections share the session"), "{err}");
    fixture.assert_clean();
}
