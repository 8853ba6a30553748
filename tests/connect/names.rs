//! `connect NAME`: a forward of the configuration, or the tag `Name`.

use ssm_proxyd::sim::{Document, Nodes, Options, ServerKind, Simulator};

use crate::support::connect_process::ConnectProcess;
use crate::support::daemon_process::assert_clean;
use crate::support::in_process::{TARGET, destination};

const OTHER: &str = "i-00000001";

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_a_forward_are_used() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(options("eu-north-1")).await.unwrap();
    let port = echo.address().port();
    let tables = forward(&format!(
        "target = \"{TARGET}\"\nremote = {port}\nregion = \"eu-north-1\"\ndocument = \"Ours\"\n\
         enabled = false\nsessions = \"shared\"\n"
    ));

    assert_connects(&simulator, &tables, &["db"]);

    let session = &simulator.ledger().sessions[0];
    assert_eq!(
        (&session.target[..], &session.document[..]),
        (TARGET, "Ours")
    );
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_win_over_the_settings_of_a_forward() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(options("eu-north-1")).await.unwrap();
    let port = echo.address().port().to_string();
    let tables = forward(&format!(
        "target = \"{TARGET}.us-west-2\"\nremote = \"db.internal:1\"\ndocument = \"Ours\"\n"
    ));

    let region = ["db", &port, "--region", "eu-north-1"];
    assert_connects(&simulator, &tables, &region);

    let session = &simulator.ledger().sessions[0];
    assert_eq!(session.document, "AWS-StartSSHSession");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_a_forward_is_the_tag_name() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(options("us-east-1")).await.unwrap();
    let port = echo.address().port().to_string();
    let tables = forward(&format!("target = \"{TARGET}\"\nremote = 1\n"));
    for (tables, name) in [
        ("", "bastion"),
        (&tables, "bastion"),
        ("", "tag:Name=bastion"),
    ] {
        assert_connects(&simulator, tables, &[name, &port]);
    }

    let sessions = simulator.ledger().sessions;
    assert_eq!(sessions.len(), 3);
    assert!(sessions.iter().all(|session| session.target == OTHER));
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_neither_is_reported_with_what_was_searched() {
    let simulator = Simulator::start(options("us-east-1")).await.unwrap();
    let tables = forward(&format!("target = \"{TARGET}\"\nremote = 1\n"));

    let (code, stderr) = ConnectProcess::with(&simulator, &tables, &["dbb"]).end();

    assert_eq!(code, 69, "{stderr}");
    for text in [
        "no forward is named \"dbb\"",
        "no managed node in us-east-1 has the tags Name=dbb",
    ] {
        assert!(stderr.contains(text), "{stderr}");
    }
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// An id is never taken for a name.
#[tokio::test(flavor = "multi_thread")]
async fn a_forward_with_the_name_of_an_id_does_not_hide_the_node() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(options("us-east-1")).await.unwrap();
    let port = echo.address().port().to_string();
    let tables = forward(&format!("target = \"{TARGET}\"\nremote = 1\n"));
    let tables = tables.replace("\"db\"", &format!("\"{OTHER}\""));

    assert_connects(&simulator, &tables, &[OTHER, &port]);

    assert_eq!(simulator.ledger().sessions[0].target, OTHER);
    assert_clean(&simulator);
}

#[track_caller]
fn assert_connects(simulator: &Simulator, tables: &str, arguments: &[&str]) {
    let mut process = ConnectProcess::with(simulator, tables, arguments);
    process.send(b"hello");
    assert_eq!(process.receive(5), b"hello");
    process.signal("TERM");
    assert_eq!(process.end(), (143, String::new()), "{arguments:?}");
}

fn forward(keys: &str) -> String {
    format!("[[forward]]\nname = \"db\"\nlisten = 0\n{keys}")
}

fn options(region: &str) -> Options {
    let name = ("Name".to_owned(), "bastion".to_owned());
    let ours = Document::like("AWS-StartPortForwardingSession").unwrap();
    Options {
        region: region.to_owned(),
        require_signature: true,
        nodes: Nodes::from([(OTHER.to_owned(), [name].into())]),
        documents: [("Ours".to_owned(), ours)].into(),
        ..Options::default()
    }
}
