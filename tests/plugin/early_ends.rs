//! Failures before the session is served: it is terminated, or named with the command that ends it.

use serde_json::{Value, json};
use ssm_proxyd::sim::Options;

use super::signals::assert_named;
use super::{Fixture, VARIABLE, port_request};
use crate::cli::ended;

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_concern_aws_does_not_leave_the_session_active() {
    let fixture = Fixture::new(Options::default()).await;
    let file = fixture.home.path().join("config.toml");
    std::fs::write(&file, "[aws\n").unwrap();
    let file = file.to_str().unwrap();

    for (name, value, expected) in [
        ("SSM_PROXYD_CONFIG", file, 78),
        ("SSM_PROXYD_CONFIG", "/nowhere/config.toml", 78),
        ("SSM_PROXYD_LOG", "=!", 2),
    ] {
        let mut command = fixture.session(&port_request(9)).await;

        let (code, _, err) = ended(command.env(name, value));

        assert_eq!(code, expected, "{name}={value}: {err}");
        assert!(!err.contains("may still be active"), "{err}");
        fixture.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_terminated_is_named() {
    let fixture = Fixture::new(Options::default()).await;
    let (request, endpoint) = (port_request(9).to_string(), fixture.simulator.endpoint());

    for (region, profile, endpoint, variable) in [
        ("us east", "", &endpoint[..], ""),
        ("us-east-1", "a\nb", &endpoint, ""),
        ("us-east-1", "", "http://10.0.0.1/", ""),
        ("us-east-1", "", &endpoint, "HTTPS_PROXY"),
    ] {
        let mut command = fixture.call(&[SESSION, region, "StartSession", profile, &request]);
        if !variable.is_empty() {
            command.env(variable, "ftp://proxy");
        }

        let (code, out, err) = ended(command.arg(endpoint));

        assert!([0, 77, 78].contains(&code), "{code}: {out}{err}");
        assert_named(&err, "me-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_none_of_session_manager_has_a_hint_without_it() {
    let fixture = Fixture::new(Options::default()).await;
    let mut session: Value = serde_json::from_str(SESSION).unwrap();
    session["SessionId"] = json!("me; rm -rf ~");
    let session = session.to_string();
    let mut command = fixture.call(&[VARIABLE, "us-east-1", "StartSession", ""]);
    command.arg(port_request(9).to_string());
    command
        .arg(fixture.simulator.endpoint())
        .env(VARIABLE, &session);

    let (code, out, err) = ended(&mut command);

    assert_eq!(code, 0);
    assert!(
        out.contains("the first argument must be the response"),
        "{out}"
    );
    assert!(err.contains("aws ssm describe-sessions"), "{err}");
    assert!(!err.contains("--session-id"), "{err}");
}

const SESSION: &str = r#"{"SessionId":"me-1","TokenValue":"t","StreamUrl":"ws://127.0.0.1:1/"}"#;
