//! Documents that fix the destination: what is sent, and where they lead according to the agent.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::cli::ended;
use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, connect, forward, free_address,
};
use crate::support::documents::{DATABASE, HOST, with_documents};
use crate::support::in_process::{InProcess, TARGET, destination, until};
use crate::support::process::ssm_proxyd;

#[tokio::test(flavor = "multi_thread")]
async fn a_document_leads_to_its_own_destination_with_exactly_the_given_parameters() {
    let echo = destination(ServerKind::Echo).await;
    for (keys, parameters) in [
        (format!("document = \"{DATABASE}\""), &[][..]),
        (
            format!("document = \"{DATABASE}\"\nparameters = {{ localPortNumber = \"7\" }}"),
            &[("localPortNumber", "7")],
        ),
        (
            format!("document = \"{HOST}\"\nparameters = {{ portNumber = [\"5432\"] }}"),
            &[("portNumber", "5432")],
        ),
    ] {
        for more in ["", "\nsessions = \"shared\"", "\nwarm = 1"] {
            let daemon = InProcess::new(options(echo.address()), &(keys.clone() + more)).await;

            assert_echo(&mut connect(daemon.address()), b"hello");

            let report = daemon.daemon.reports().remove(0);
            assert!(report.remote.starts_with("document Our-"), "{report:?}");
            assert_eq!(report.destination, Some("db.internal:5432".into()));
            let ledger = daemon.end().await;
            for session in &ledger.sessions {
                let sent = session.parameters.iter();
                let sent: Vec<_> = sent.map(|(name, values)| (&**name, &*values[0])).collect();
                assert_eq!(sent, parameters, "{keys}{more}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_destination_once() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(options(echo.address())).await.unwrap();
    let text = forward("f", &format!("document = \"{DATABASE}\""));
    let daemon = DaemonProcess::start(&simulator, &text);

    for _ in 0..2 {
        assert_echo(&mut connect(daemon.address()), b"hello");
    }

    let log = daemon.stop(&simulator);
    let lines = || log.lines().filter(|line| line.contains("leads to"));
    assert_eq!(lines().count(), 1, "{log}");
    let expected = [
        "INFO",
        "forward=\"f\"",
        "destination=db.internal:5432",
        DATABASE,
    ];
    assert_names(lines().next().unwrap(), &expected);
    assert_names(
        &log,
        &["listening", "destination=\"document Our-Database\""],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_where_a_document_leads_if_the_configuration_does_not_say_it() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(options(echo.address())).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let tables = [
        format!("[admin]\nsocket = {socket:?}\n"),
        forward("fixed", &format!("document = \"{DATABASE}\"")),
        forward("other", &format!("remote = 5432\ndocument = \"{HOST}\"")),
        forward("same", "remote = \"db.internal:5432\""),
        forward("unused", "remote = 5432"),
    ];
    let daemon = DaemonProcess::start(&simulator, &tables.concat());

    for name in ["fixed", "other", "same"] {
        assert_echo(&mut connect(daemon.address_of(name)), b"hello");
    }

    let status = |more: &[&str]| {
        let mut command = ssm_proxyd();
        let command: &mut Command = command.arg("status").args(more);
        let (code, out, stderr) = ended(command.arg("--socket").arg(&socket));
        assert_eq!(code, 0, "{stderr}");
        out
    };
    let json: Value = serde_json::from_str(&status(&["--json"])).unwrap();
    let of = |key: &str| {
        let forwards = json["forwards"].as_array().unwrap().iter();
        forwards
            .map(|forward| forward[key].clone())
            .collect::<Vec<_>>()
    };
    let database = Value::from("db.internal:5432");
    assert_eq!(
        of("destination"),
        [database.clone(), database, Value::Null, Value::Null]
    );
    assert_eq!(
        of("remote"),
        [
            "document Our-Database",
            "localhost:5432",
            "db.internal:5432",
            "localhost:5432"
        ]
    );
    let text = status(&[]);
    let of = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    let end = format!(" via {TARGET}");
    let leads = |remote: &str| format!("  {remote} (leads to db.internal:5432){end}");
    assert!(
        of("fixed").ends_with(&leads("document Our-Database")),
        "{text}"
    );
    assert!(of("other").ends_with(&leads("localhost:5432")), "{text}");
    assert!(
        of("same").ends_with(&format!("  db.internal:5432{end}")),
        "{text}"
    );
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_the_document_does_not_take_is_reported() {
    let keys = format!("document = \"{DATABASE}\"\nparameters = {{ portNumber = \"22\" }}");
    let simulator = Simulator::start(options(free_address())).await.unwrap();
    let mut daemon = DaemonProcess::start(&simulator, &forward("f", &keys));

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    let expected = [
        "InvalidParameters",
        "portNumber",
        DATABASE,
        "check `document`",
    ];
    assert_names(&line, &expected);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_of_a_document_that_refuses_is_named() {
    let keys = format!("document = \"{DATABASE}\"");
    let daemon = InProcess::new(options(free_address()), &keys).await;

    assert_reset(connect(daemon.address()));

    let error = || {
        daemon
            .daemon
            .reports()
            .remove(0)
            .failure
            .map(|failure| failure.error)
    };
    until("the failure is reported", || error().is_some()).await;
    let expected = "the agent could not connect to db.internal:5432";
    assert_eq!(error(), Some(expected.into()));
    daemon.end().await;
}

/// Documents that lead to `address` as `db.internal:5432`.
fn options(address: SocketAddr) -> Options {
    with_documents(Options::default(), 5432, address)
}
