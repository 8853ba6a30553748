//! Credentials that are missing: the caller may have some that it does not pass on.

use ssm_proxyd::sim::{Faults, Options, RefusedUpgrades, ServerKind};

use super::signals::assert_named;
use super::{Fixture, opened, port_request};
use crate::cli::ended;
use crate::support::daemon_process::{assert_clean, assert_echo, connect};
use crate::support::in_process::destination;
use crate::support::process::Process;

/// As by the official plugin: the token opens the data channel. Programs that call it often have
/// credentials of their own.
#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_the_session_is_served_with_its_token() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut command = fixture.session(&port_request(echo.address().port())).await;
    let mut plugin = Process::start(command.env_remove("AWS_ACCESS_KEY_ID"));
    let address = opened(&mut plugin);

    let (mut one, mut two) = (connect(address), connect(address));
    assert_echo(&mut one, b"one");
    assert_echo(&mut two, b"two");
    drop((one, two));
    plugin.signal("INT");

    assert_eq!(plugin.exit_code(), 0);
    let err = plugin.stderr.all();
    assert!(err.contains("connections share the session"), "{err}");
    assert_named(&err, &fixture.session_id());
    assert_eq!(fixture.simulator.ledger().sessions.len(), 1);
    assert_clean(&fixture.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_a_service_that_requires_a_signature_is_reported() {
    let fixture = Fixture::new(Options::default()).await;
    fixture.simulator.set_faults(Faults {
        refuse_upgrades: Some(RefusedUpgrades {
            status: 403,
            times: None,
        }),
        ..Faults::default()
    });
    let mut command = fixture.session(&port_request(9)).await;

    let (code, out, err) = ended(command.env_remove("AWS_ACCESS_KEY_ID"));

    assert_eq!(code, 0);
    assert!(
        out.contains("Cannot perform start session: credentials: none found"),
        "{out}"
    );
    assert!(out.contains("then start the session again"), "{out}");
    assert_named(&err, &fixture.session_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_profile_is_reported_in_the_words_of_the_plugin() {
    let fixture = Fixture::new(Options::default()).await;
    let mut command = fixture.session(&port_request(9)).await;
    let file = fixture.home.path().join("config");
    std::fs::write(&file, "[profile there]\n").unwrap();

    let (code, out, err) = ended(
        command
            .env("AWS_CONFIG_FILE", file)
            .env("AWS_PROFILE", "absent"),
    );

    assert_eq!(code, 0);
    assert!(
        out.contains("the profile \"absent\" does not exist") && !out.contains("forward"),
        "{out}"
    );
    assert!(out.contains("start the session again"), "{out}");
    assert_named(&err, &fixture.session_id());
    assert!(!err.contains("describe-sessions"), "{err}");
}
