//! Targets selected by tags, and several targets in order.

use std::time::Duration;

use ssm_proxyd::sim::{ApiFault, Nodes, Operation, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, caller, connect,
};
use crate::support::in_process::{destination, until};

const OLD: &str = "i-00000001";
const NEW: &str = "i-00000002";
const OTHER: &str = "mi-0123456789abcdef0";

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_found_by_all_of_its_tags() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&[(OLD, "bastion", "test"), (NEW, "bastion", "prod")]).await;
    let target = r#"{ tags = { Name = "bastion", Env = "prod" } }"#;
    let daemon = start(&simulator, target, echo.address().port());

    assert_echo(&mut connect(daemon.address()), b"hello");

    assert_eq!(targets(&simulator), [NEW]);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_may_have_any_printable_characters() {
    let echo = destination(ServerKind::Echo).await;
    for name in [
        "bastion (prod)",
        "a, b",
        r#"the "blue" one's"#,
        "Größe: 50% [x]?",
    ] {
        let simulator = simulator(&[(OLD, "bastion", "prod"), (NEW, name, "prod")]).await;
        let target = format!("{{ tags = {{ Name = '''{name}''' }} }}");
        let daemon = start(&simulator, &target, echo.address().port());

        assert_echo(&mut connect(daemon.address()), b"hello");

        assert_eq!(targets(&simulator), [NEW], "{name}");
        daemon.stop(&simulator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_aws_refuses_is_reported_with_the_characters_that_it_allows() {
    let simulator = simulator(&[]).await;
    let code = "InvalidInstanceInformationFilterValue".to_owned();
    let fault = ApiFault { code, times: None };
    simulator.fail(Operation::DescribeInstanceInformation, fault);
    let mut daemon = start(&simulator, "{ tags = { Name = \"(x)\" } }", 1);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    let expected = ["InvalidInstanceInformationFilterValue", "_.:/=+-@"];
    assert_names(&line, &expected);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_connections_shares_one_lookup() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        api_delay: Duration::from_millis(100),
        ..options(&[(OLD, "bastion", "prod")])
    };
    let simulator = Simulator::start(options).await.unwrap();
    let target = r#"{ tags = { Name = "bastion" } }"#;
    let daemon = start(&simulator, target, echo.address().port());

    let mut clients: Vec<_> = (0..8).map(|_| connect(daemon.address())).collect();
    clients
        .iter_mut()
        .for_each(|client| assert_echo(client, b"hello"));

    assert_eq!(look_ups(&simulator), 1);
    drop(clients);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_node_is_looked_up_again_by_the_connection_that_finds_it_missing() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&[(OLD, "bastion", "prod"), (NEW, "bastion", "prod")]).await;
    simulator.set_offline(NEW, true);
    let target = r#"{ tags = { Name = "bastion" } }"#;
    let daemon = start(&simulator, target, echo.address().port());
    assert_echo(&mut connect(daemon.address()), b"hello");

    simulator.set_offline(OLD, true);
    simulator.set_offline(NEW, false);
    assert_echo(&mut connect(daemon.address()), b"hello again");

    assert_eq!(targets(&simulator), [OLD, NEW]);
    assert_eq!(look_ups(&simulator), 2);
    until("both sessions are ended", || simulator.open_sessions() == 0).await;
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_tried_in_order_until_one_is_connected() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&[(NEW, "bastion", "prod")]).await;
    simulator.set_offline(OLD, true);
    let target = format!(
        r#"["{OLD}", {{ tags = {{ Name = "nobody" }} }}, {{ tags = {{ Name = "bastion" }} }}, "{OTHER}"]"#
    );
    let daemon = start(&simulator, &target, echo.address().port());

    assert_echo(&mut connect(daemon.address()), b"hello");

    assert_eq!(targets(&simulator), [NEW]);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_no_target_is_connected_each_is_reported() {
    let simulator = simulator(&[(NEW, "bastion", "prod")]).await;
    for id in [OLD, NEW, OTHER] {
        simulator.set_offline(id, true);
    }
    let target = format!(
        r#"["{OLD}", {{ tags = {{ Name = "bastion" }} }}, {{ tags = {{ Name = "nobody" }} }}, "{OTHER}"]"#
    );
    let mut daemon = start(&simulator, &target, 1);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert_names(
        &line,
        &[
            "no target is connected",
            OLD,
            NEW,
            "Name=nobody",
            OTHER,
            "hint=",
        ],
    );
    daemon.stop(&simulator);
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_failures_do_not_try_the_next_target() {
    let simulator = simulator(&[]).await;
    let fault = ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: Some(1),
    };
    simulator.fail(Operation::StartSession, fault);
    let mut daemon = start(&simulator, &format!(r#"["{OLD}", "{NEW}"]"#), 1);

    assert_reset(connect(daemon.address()));

    assert_names(
        &daemon.process.stderr.wait_for("WARN"),
        &["AccessDenied", "ssm:StartSession"],
    );
    daemon.stop(&simulator);
    assert_eq!(simulator.ledger().calls.get("StartSession"), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_lookup_is_reported_with_its_remedy() {
    for (code, text) in [
        (
            Some("AccessDeniedException"),
            "ssm:DescribeInstanceInformation, on",
        ),
        (
            None,
            "no managed node in us-east-1 has the tags Name=bastion",
        ),
    ] {
        let simulator = simulator(&[]).await;
        if let Some(code) = code {
            let (code, times) = (code.to_owned(), None);
            simulator.fail(
                Operation::DescribeInstanceInformation,
                ApiFault { code, times },
            );
        }
        let mut daemon = start(&simulator, r#"{ tags = { Name = "bastion" } }"#, 1);

        assert_reset(connect(daemon.address()));

        let line = daemon.process.stderr.wait_for("WARN");
        assert_names(&line, &["DescribeInstanceInformation", text, "hint="]);
        daemon.stop(&simulator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_a_lookup_is_shown_as_such() {
    let options = Options {
        api_delay: Duration::from_secs(600),
        ..options(&[])
    };
    let simulator = Simulator::start(options).await.unwrap();
    let target = "{ tags = { Name = \"bastion\" } }\nconnect_timeout = \"1s\"";
    let mut daemon = start(&simulator, target, 1);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert_names(
        &line,
        &["still waiting for DescribeInstanceInformation", "tags"],
    );
    daemon.stop(&simulator);
}

fn start(simulator: &Simulator, target: &str, port: u16) -> DaemonProcess {
    let text = format!(
        "[[forward]]\nname = \"f\"\nlisten = \"127.0.0.1:0\"\ntarget = {target}\nremote = {port}\n"
    );
    DaemonProcess::launch(caller(simulator), &simulator.endpoint(), &text)
}

async fn simulator(nodes: &[(&str, &str, &str)]) -> Simulator {
    Simulator::start(options(nodes)).await.unwrap()
}

/// Ids, names and environments.
fn options(nodes: &[(&str, &str, &str)]) -> Options {
    let node = |(id, name, environment): &(&str, &str, &str)| {
        let tags = [("Name", name), ("Env", environment)];
        let tags = tags.map(|(key, value)| (key.to_owned(), (*value).to_owned()));
        ((*id).to_owned(), tags.into())
    };
    Options {
        nodes: nodes.iter().map(node).collect::<Nodes>(),
        require_signature: true,
        ..Options::default()
    }
}

fn targets(simulator: &Simulator) -> Vec<String> {
    let sessions = simulator.ledger().sessions;
    sessions.into_iter().map(|session| session.target).collect()
}

fn look_ups(simulator: &Simulator) -> u64 {
    let calls = simulator.ledger().calls;
    calls
        .get("DescribeInstanceInformation")
        .copied()
        .unwrap_or_default()
}
