//! What the plugin does not serve, and what it prints then.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use ssm_proxyd::sim::{Options, ServerKind};

use super::{Fixture, VARIABLE, copy_program, port_request};
use crate::cli::ended;
use crate::support::daemon_process::{assert_clean, assert_echo, connect};
use crate::support::documents::{DATABASE, with_documents};
use crate::support::in_process::{TARGET, destination};
use crate::support::official_client::start_session_with;
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_session_are_answered_as_by_the_official_plugin() {
    let fixture = Fixture::new(Options::default()).await;
    let called = |arguments: &[&str]| ended(&mut fixture.call(arguments));
    let ok = |text: &str| (0, text.to_owned(), String::new());

    let installed = "\nThe Session Manager plugin was installed successfully. Use the AWS CLI to start a session.\n\n";
    assert_eq!(called(&[]), ok(installed));
    assert_eq!(called(&["--version"]), ok("1.2.764.0\n"));
    assert_eq!(
        called(&["fly\u{1b}[2J", "away"]),
        ok(
            "\nUnknown operation fly\u{fffd}[2J. \nUse session-manager-plugin --version to check the version.\n\n"
        )
    );
    assert_eq!(called(&["{}", "r", "Fly"]), ok("Invalid Operation\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_reported_without_the_token() {
    let fixture = Fixture::new(Options::default()).await;
    let session = |url: &str| {
        json!({ "SessionId": "me-1", "TokenValue": "sesame", "StreamUrl": url }).to_string()
    };
    let (local, foreign) = (
        session(&format!("ws://{}/", fixture.simulator.address())),
        session("wss://evil.example/"),
    );
    let request = port_request(9).to_string();
    let endpoint = fixture.simulator.endpoint();

    for (arguments, expected) in [
        (
            ["sesame", "us-east-1", "", &request, &endpoint],
            "the response of StartSession is not JSON",
        ),
        (
            ["[\"sesame\"]", "us-east-1", "", &request, &endpoint],
            "is not a JSON object",
        ),
        (
            [
                "{\"SessionId\":\"me-1\"}",
                "us-east-1",
                "",
                &request,
                &endpoint,
            ],
            "has no valid StreamUrl",
        ),
        (
            [VARIABLE, "us-east-1", "", &request, &endpoint],
            "no variable",
        ),
        (
            [&local, "us east", "", &request, &endpoint],
            "is not a region",
        ),
        (
            [&local, "us-east-1", "a\nb", &request, &endpoint],
            "profile",
        ),
        (
            [&local, "us-east-1", "", &request, "http://10.0.0.1/"],
            "loopback",
        ),
        (
            [&foreign, "us-east-1", "", &request, &endpoint],
            "evil.example",
        ),
        (
            [&local, "us-east-1", "", &request, &endpoint],
            "Cannot perform start session: ",
        ),
    ] {
        let [response, region, profile, request, endpoint] = arguments;
        let mut command = fixture.call(&[response, region, "StartSession", profile]);
        command.args([request, endpoint]);
        command.env("SSM_PROXYD_LOG", "trace");

        let (code, out, err) = ended(&mut command);

        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        assert!(out.contains("Cannot perform start session: "), "{out}{err}");
        assert!(out.contains(expected), "{expected}: {out}");
        assert!(!format!("{out}{err}").contains("sesame"), "{out}{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_reported_and_the_session_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let fixture = Fixture::new(Options::default()).await;
    let mut request = port_request(9);
    request["Parameters"]["localPortNumber"] = json!([port.to_string()]);

    let (code, out, _) = ended(&mut fixture.session(&request).await);

    assert_eq!(code, 0);
    assert!(
        out.contains("already in use; choose another localPortNumber"),
        "{out}"
    );
    fixture.assert_clean();
}

/// The simulator has no document for shells, so the session is another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_shell_is_handed_over_to_the_official_plugin() {
    let fixture = Fixture::new(Options::default()).await;
    let official = fixture.home.path().join("official");
    std::fs::create_dir(&official).unwrap();
    let script = "#!/bin/sh\nfor one; do echo \"<$one>\"; done\necho \"$AWS_SSM_START_SESSION_RESPONSE\"\nexit 7\n";
    let program = official.join("session-manager-plugin");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([fixture.links(), official]).unwrap();
    let request = json!({ "Target": TARGET }).to_string();
    let arguments = [
        VARIABLE,
        "us-east-1",
        "StartSession",
        "",
        &request,
        "https://h",
    ];
    let response = r#"{"SessionId":"me-1","TokenValue":"t","StreamUrl":"wss://h/"}"#;
    let mut command = fixture.call(&arguments);
    command.env("PATH", path).env(VARIABLE, response);

    let (code, out, err) = ended(&mut command);

    let passed: String = arguments.iter().map(|one| format!("<{one}>\n")).collect();
    assert_eq!(
        (code, out, &err[..]),
        (7, format!("{passed}{response}\n"), "")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_official_plugin_a_shell_is_terminated_with_a_message() {
    let fixture = Fixture::new(Options::default()).await;
    let response = start_session_with(&fixture.simulator, &port_request(9)).await;
    let request = json!({ "Target": TARGET, "DocumentName": "SSM-SessionManagerRunShell" });
    let mut command = fixture.call(&[&response.to_string(), "us-east-1", "StartSession", ""]);
    command
        .arg(request.to_string())
        .arg(fixture.simulator.endpoint());

    let (code, out, err) = ended(&mut command);

    assert_eq!((code, &out[..]), (1, ""));
    assert!(
        err.contains("install the official Session Manager plugin"),
        "{err}"
    );
    fixture.assert_clean();
}

/// Copies of the program do not call each other for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_program_is_no_official_plugin() {
    let fixture = Fixture::new(Options::default()).await;
    let copies = fixture.home.path().join("copies");
    std::fs::create_dir(&copies).unwrap();
    copy_program(&copies.join("session-manager-plugin"));
    let path = std::env::join_paths([fixture.links(), copies]).unwrap();
    let response = start_session_with(&fixture.simulator, &port_request(9)).await;
    let mut command = fixture.call(&[&response.to_string(), "us-east-1", "StartSession", ""]);
    let request = json!({ "Target": TARGET, "DocumentName": "SSM-SessionManagerRunShell" });
    command.arg(request.to_string());
    command.arg(fixture.simulator.endpoint());

    let (code, _, err) = ended(command.env("PATH", path));

    assert_eq!(code, 1);
    assert!(err.contains("does not serve shells"), "{err}");
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_parameters_is_served_if_it_is_for_a_port() {
    let echo = destination(ServerKind::Echo).await;
    let options = with_documents(Options::default(), 7, echo.address());
    let fixture = Fixture::new(options).await;
    let request = json!({ "Target": TARGET, "DocumentName": DATABASE });
    let mut plugin = Process::start(&mut fixture.session(&request).await);

    assert_echo(&mut connect(super::opened(&mut plugin)), b"hello");

    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    assert_clean(&fixture.simulator);
}

/// Some callers leave out the document or what they do not know; the agent knows what it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_understood_does_not_keep_the_session_from_being_served() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let request = port_request(echo.address().port());
    let document = &request["DocumentName"];

    for (text, warning) in [
        (json!({ "Target": TARGET }).to_string(), ""),
        ("{\"Target\":\"i-1\"".to_owned(), "is not JSON"),
        ("{}".to_owned(), "has no valid Target"),
        (
            request.to_string().replace("portNumber", "port\\u001b"),
            "not printable",
        ),
        (
            json!({ "Target": TARGET, "DocumentName": document, "Parameters": 7 }).to_string(),
            "has no valid Parameters",
        ),
    ] {
        let response = start_session_with(&fixture.simulator, &request).await;
        let mut command = fixture.call(&[&response.to_string(), "us-east-1", "StartSession", ""]);
        command.arg(&text).arg(fixture.simulator.endpoint());
        let mut plugin = Process::start(&mut command);

        assert_echo(&mut connect(super::opened(&mut plugin)), b"hello");

        plugin.signal("INT");
        assert_eq!(plugin.exit_code(), 0);
        let err = plugin.stderr.all();
        assert!(err.contains(warning), "{text}: {err}");
        assert_eq!(err.is_empty(), warning.is_empty(), "{text}: {err}");
        fixture.assert_clean();
    }
}
