//! Failures before the session is served: it is terminated, or named with the command that ends it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};
use ssm_proxyd::sim::Options;

use super::signals::assert_named;
use super::{Fixture, VARIABLE, opened, port_request};
use crate::cli::ended;
use crate::support::official_client::start_session_with;
use crate::support::process::Process;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_response_is_incomplete_is_terminated() {
    let fixture = Fixture::new(Options::default()).await;
    let request = port_request(9);

    for field in ["StreamUrl", "TokenValue"] {
        let mut response = start_session_with(&fixture.simulator, &request).await;
        response.as_object_mut().unwrap().remove(field);
        let mut command = fixture.call(&[&response.to_string(), "us-east-1", "StartSession", ""]);
        command.arg(request.to_string());
        command.arg(fixture.simulator.endpoint());

        let (code, out, err) = ended(&mut command);

        assert_eq!(code, 0);
        assert!(out.contains(&format!("has no valid {field}")), "{out}");
        assert_eq!(err, "");
        fixture.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_are_not_utf8_are_named_and_the_session_too() {
    let fixture = Fixture::new(Options::default()).await;
    let request = port_request(9).to_string();
    let good = [SESSION, "us-east-1", "StartSession", "", &request, ""];

    for (at, name) in [(1, "the region"), (5, "the endpoint")] {
        let mut arguments = good.map(OsString::from);
        arguments[at].push(OsStr::from_bytes(b"\xff"));
        let mut command = fixture.call(&[]);

        let (code, out, err) = ended(command.args(arguments));

        assert_eq!(code, 0);
        assert!(out.contains(&format!("{name} is not UTF-8")), "{out}");
        assert_named(&err, "me-1");
    }
}

/// An argument wins, as in the AWS CLI.
#[tokio::test(flavor = "multi_thread")]
async fn a_variable_whose_value_is_an_argument_is_not_read() {
    let fixture = Fixture::new(Options::default()).await;
    let mut command = fixture.session(&port_request(9)).await;
    command.env("AWS_REGION", "us east");
    let mut plugin = Process::start(command.env("AWS_ENDPOINT_URL_SSM", "http://10.0.0.1/"));
    opened(&mut plugin);

    plugin.signal("INT");

    assert_eq!(plugin.exit_code(), 0);
    assert_eq!(plugin.stderr.all(), "");
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_an_id_has_a_hint_how_to_find_the_session() {
    let fixture = Fixture::new(Options::default()).await;
    let mut command = fixture.call(&["{}", "us-east-1", "StartSession"]);

    let (code, out, err) = ended(&mut command);

    assert_eq!(code, 0);
    assert!(out.contains("has no valid SessionId"), "{out}");
    assert!(err.contains("aws ssm describe-sessions"), "{err}");
}

const SESSION: &str = r#"{"SessionId":"me-1","TokenValue":"t","StreamUrl":"ws://127.0.0.1:1/"}"#;
