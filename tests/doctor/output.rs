//! The output: several forwards, JSON, names.

use serde_json::Value;
use ssm_proxyd::sim::ServerKind;

use super::*;
use crate::support::daemon_process::free_address;
use crate::support::in_process::destination;

/// Two forwards of one account, and one of another region.
fn three(good: u16, bad: u16) -> String {
    let forward = |name, keys: String| {
        format!("[[forward]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\n{keys}")
    };
    forward("good", format!("target = \"{TARGET}\"\nremote = {good}\n"))
        + &forward("bad", format!("target = \"{TARGET}\"\nremote = {bad}\n"))
        + &forward(
            "far",
            format!("target = \"{TARGET}\"\nremote = {good}\nregion = \"eu-west-1\"\n"),
        )
        + &forward(
            "off",
            format!("target = \"{TARGET}\"\nremote = {good}\nenabled = false\n"),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn all_forwards_are_examined_and_what_they_share_once() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let text = three(echo.address().port(), free_address().port());

    let examined = examine(&simulator, &text);

    examined.assert_as("three-forwards");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_forward_is_examined_by_its_name_although_it_is_disabled() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let text = with_endpoint(&simulator, &three(echo.address().port(), 1));

    let examined = examine_by(caller(&simulator), &text, &["off"]);

    assert_eq!(examined.code, 0, "{}", examined.stdout);
    examined.assert_says("PASS", "session-end", "terminated");
    assert_eq!(simulator.ledger().started, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_has_all_checks_and_the_exit_code() {
    let simulator = simulator(|_| {}).await;
    let text = with_endpoint(&simulator, &forward(free_address().port()));

    let examined = examine_by(caller(&simulator), &text, &["--json"]);

    let mut json: Value = serde_json::from_str(&examined.stdout).unwrap();
    assert_eq!(json["exit_code"], examined.code);
    for check in json["checks"].as_array_mut().unwrap() {
        assert!(check["seconds"].is_number(), "{check}");
        check["seconds"] = Value::Null;
    }
    let shown = serde_json::to_string_pretty(&json).unwrap();
    Examined {
        stdout: shown + "\n",
        ..examined
    }
    .assert_as("json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_not_ignored_silently() {
    let simulator = simulator(|_| {}).await;
    let text = with_endpoint(&simulator, &forward(1));

    let examined = examine_by(caller(&simulator), &text, &["f", "--remote", "db:1"]);

    assert_eq!((examined.code, examined.stdout.as_str()), (2, ""));
    assert!(
        examined.stderr.contains("\"f\" is a forward"),
        "{}",
        examined.stderr
    );
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_forward_is_said_to_be_none() {
    let simulator = simulator(|_| {}).await;
    let text = with_endpoint(&simulator, &forward(1));

    let examined = examine_by(caller(&simulator), &text, &["ff"]);

    examined.assert_says("PASS", "configuration", "it has no forward \"ff\"");
    examined.assert_says("FAIL", "target", "Name=ff");
    assert_eq!(examined.code, 69);
}

#[test]
fn a_closed_stdout_does_not_hide_a_failure() {
    let file = File::new("[aws]\nregoin = \"eu-west-1\"\n");
    for arguments in [&["doctor"][..], &["doctor", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = ssm_proxyd();
        command.args(arguments).arg("--config").arg(file.path());

        let status = command.stdout(writer).status().unwrap();

        assert_eq!(status.code(), Some(78), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_closes_stdout_ends_nothing() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let file = File::new(&with_endpoint(&simulator, &forward(echo.address().port())));
    let ours = caller(&simulator);
    let line = format!(
        "{} doctor --config {} | head -n 1",
        ours.get_program().display(),
        file.path().display()
    );
    let mut command = Command::new("sh");
    crate::support::process::take_environment(&mut command, &ours);

    let examined = finish(command.args(["-c", &line]));

    assert_eq!(examined.stdout.lines().count(), 1);
    assert_eq!(examined.stderr, "");
    crate::support::in_process::until("the session has ended", || {
        simulator.ledger().started == 1 && simulator.open_sessions() == 0
    })
    .await;
}
