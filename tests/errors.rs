//! Error classes: the documentation lists them all, and messages, status, readiness, metrics and
//! log name them.

use std::fs;

use serde_json::Value;
use ssm_proxyd::error_class::ErrorClass;
use ssm_proxyd::sim::{ApiFault, Operation, Options, Simulator};

use crate::cli::ended;
use crate::support::connect_process::ConnectProcess;
use crate::support::daemon_process::{
    DaemonProcess, File, assert_names, assert_reset, caller, connect, forward, free_address,
};
use crate::support::in_process::{TARGET, unpaced};
use crate::support::process::ssm_proxyd;
use crate::support::tls::TlsServer;

#[test]
fn the_documentation_has_a_section_for_each_class() {
    let text = fs::read_to_string("docs/errors.md").unwrap();
    let mut sections = text.split("\n### ").skip(1);

    for class in ErrorClass::ALL {
        let expected = format!(
            "{class}\n\n{}\n\n- **Remedy:** {}.\n- **Exit code:** {}\n",
            class.summary(),
            class.remedy(),
            class.exit_code()
        );
        let section = sections.next().unwrap_or_default();
        assert!(
            section.starts_with(&expected),
            "docs/errors.md must have a section that begins with:\n### {expected}\nfound:\n### {section}"
        );
    }

    assert_eq!(sections.next(), None, "a section without a class");
}

#[test]
fn the_links_of_the_documentation_lead_to_a_class() {
    let text = fs::read_to_string("docs/errors.md").unwrap();
    let targets = text.split("](#").skip(1);

    for target in targets.map(|rest| rest.split(')').next().unwrap()) {
        let mut classes = ErrorClass::ALL.iter();
        let found = classes.any(|class| class.name().to_lowercase() == target);
        assert!(found, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_ends_its_message_with_the_class_and_exits_with_its_code() {
    for (api, class) in [
        ("TargetNotConnected", ErrorClass::TargetNotConnected),
        ("AccessDeniedException", ErrorClass::AccessDenied),
        ("ExpiredTokenException", ErrorClass::CredentialsExpired),
        ("InvalidClientTokenId", ErrorClass::CredentialsRejected),
        ("RequestExpired", ErrorClass::ClockSkew),
        ("InvalidDocument", ErrorClass::DocumentNotFound),
        ("InvalidParameters", ErrorClass::DocumentParameters),
        ("ValidationException", ErrorClass::InvalidRequest),
        ("InternalServerError", ErrorClass::ServiceFault),
    ] {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let code = api.to_owned();
        simulator.fail(Operation::StartSession, ApiFault { code, times: None });
        let tables = "[defaults]\nconnect_timeout = \"2s\"\n";

        let (exit, stderr) = ConnectProcess::with(&simulator, tables, &[TARGET]).end();

        assert_ends_with(&stderr, class);
        assert_eq!(exit, i32::from(class.exit_code()), "{api}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_reports_has_a_class() {
    let free = free_address().port();
    for (arguments, class) in [
        (
            &["--remote", "nowhere.internal:5432"][..],
            ErrorClass::DestinationNotFound,
        ),
        (
            &["--remote", "169.254.169.254:80"],
            ErrorClass::DestinationForbidden,
        ),
        (
            &["--remote", &format!("localhost:{free}")],
            ErrorClass::DestinationRefused,
        ),
        (&[&free.to_string()], ErrorClass::DestinationRefused),
    ] {
        let simulator = Simulator::start(unpaced()).await.unwrap();
        let arguments = [&[TARGET][..], arguments].concat();

        let (exit, stderr) = ConnectProcess::with(&simulator, "", &arguments).end();

        assert_ends_with(&stderr, class);
        assert_eq!(exit, i32::from(class.exit_code()), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_reached_has_a_class() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let secure = TlsServer::start(simulator.address(), &["127.0.0.1"]).await;
    for (endpoint, class) in [
        (
            format!("http://{}", free_address()),
            ErrorClass::EndpointUnreachable,
        ),
        (
            format!("https://{}", secure.address),
            ErrorClass::TlsUntrusted,
        ),
    ] {
        let mut command = caller(&simulator);
        command.env("AWS_ENDPOINT_URL_SSM", &endpoint);
        command.env("AWS_REGION", "eu-west-1");
        let file = File::new("[defaults]\nconnect_timeout = \"2s\"\n");
        command.env("SSM_PROXYD_CONFIG", file.path());
        command.args(["connect", TARGET, "22"]);

        let (exit, _, stderr) = ended(&mut command);

        assert_ends_with(&stderr, class);
        assert_eq!(exit, i32::from(class.exit_code()), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_metrics_readiness_and_log_name_the_same_class() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let code = "InvalidParameters".to_owned();
    simulator.fail(Operation::StartSession, ApiFault { code, times: None });
    let http = free_address();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let text = format!(
        "[http]\nlisten = \"{http}\"\n[admin]\nsocket = {socket:?}\n{}",
        forward("f", "remote = 9\nconnect_timeout = \"2s\"")
    );
    let mut daemon = DaemonProcess::start(&simulator, &text);

    assert_reset(connect(daemon.address_of("f")));
    let line = daemon.process.stderr.wait_for("WARN");

    assert_names(&line, &["class=DocumentParameters"]);
    let status = |json: &[&str]| {
        let mut command = ssm_proxyd();
        command
            .arg("status")
            .args(json)
            .arg("--socket")
            .arg(&socket);
        ended(&mut command).1
    };
    let report: Value = serde_json::from_str(&status(&["--json"])).unwrap();
    let report = &report["forwards"][0];
    assert_eq!(report["failure"]["code"], "DocumentParameters");
    assert!(
        report["failures"]["DocumentParameters"].as_u64() >= Some(1),
        "{report}"
    );
    let text = status(&[]);
    let hint = text.lines().find(|line| line.contains("hint:")).unwrap();
    assert_ends_with(hint, ErrorClass::DocumentParameters);
    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let mut server = std::net::TcpStream::connect(http).unwrap();
        std::io::Write::write_all(&mut server, request.as_bytes()).unwrap();
        std::io::read_to_string(server).unwrap()
    };
    assert_names(&get("/readiness"), &["failing: f DocumentParameters\n"]);
    let sample = "ssm_proxyd_failures_total{forward=\"f\",class=\"DocumentParameters\"} ";
    assert_names(&get("/metrics"), &[sample]);
    daemon.stop(&simulator);
}

#[test]
fn a_command_without_a_daemon_names_the_class() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = ssm_proxyd();
    command.arg("status").arg("--socket");
    command.arg(directory.path().join("none"));

    let (exit, _, stderr) = ended(&mut command);

    assert_ends_with(&stderr, ErrorClass::DaemonNotRunning);
    assert_eq!(exit, 69);
}

/// The last line ends with the class, and no other line has it.
fn assert_ends_with(stderr: &str, class: ErrorClass) {
    let tag = format!("[{class}]");
    assert!(stderr.trim_end().ends_with(&tag), "{tag}: {stderr}");
    assert_eq!(stderr.matches(&tag).count(), 1, "{stderr}");
}
