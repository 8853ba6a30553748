//! `[log]`: format and level.

use std::net::TcpStream;

use serde_json::Value;
use ssm_proxyd::sim::{Options, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, File, assert_reset, caller, connect, forward, free_address,
};
use crate::support::in_process::{TARGET, until};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn in_json_format_every_line_is_an_object_with_fields() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let log = logged(&simulator, "format = \"json\"", &[]).await;

    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let listening = lines.iter().find(|line| line["message"] == "listening");
    let listening = listening.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(listening["level"], "INFO");
    assert_eq!(listening["target"], "ssm_proxyd::forward");
    assert_eq!(listening["spans"][0]["forward"], "f");
    assert!(listening["node"].is_string());
    for line in log.lines() {
        assert_no_key_twice(line);
    }
    assert!(listening["timestamp"].is_string());
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "stopping" && line["signal"] == "SIGTERM")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_file_holds_unless_overridden() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let level = "level = \"error\"";

    assert_eq!(logged(&simulator, level, &[]).await, "");

    for options in [&[("SSM_PROXYD_LOG", "info")][..], &[("-v", "")]] {
        let log = logged(&simulator, level, options).await;
        assert!(log.contains("listening"), "{options:?}: {log}");
    }
    let log = logged(&simulator, "level = \"debug\"", &[]).await;
    assert!(log.contains("DEBUG"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_about_a_forward_names_it_at_every_level() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    simulator.set_offline(TARGET, true);
    let level = "[log]\nlevel = \"warn\"\n";
    let daemon = DaemonProcess::quiet(
        &simulator,
        &(level.to_owned() + &forward("f", "remote = 1")),
    );

    assert_reset(connect(daemon.address()));
    let log = daemon.stop(&simulator);

    let line = log.lines().find(|line| line.contains("TargetNotConnected"));
    assert!(
        line.is_some_and(|line| line.contains("serving{forward=\"f\"}")),
        "{log}"
    );
}

/// JSON parsers differ in which of two equal keys they keep.
fn assert_no_key_twice(line: &str) {
    let mut seen = vec![std::collections::BTreeSet::new()];
    let line = line.replace("\\\"", "'");
    let text: Vec<&str> = line.split('"').collect();
    for (at, word) in text.iter().enumerate() {
        // Strings are keys or texts; a key is followed by a colon.
        let is_key = at % 2 == 1 && text.get(at + 1).is_some_and(|next| next.starts_with(':'));
        if is_key {
            assert!(
                seen.last_mut().unwrap().insert(*word),
                "{word} appears twice: {line}"
            );
        }
        for c in word.chars().filter(|_| at % 2 == 0) {
            match c {
                '{' => seen.push(std::collections::BTreeSet::new()),
                '}' => drop(seen.pop()),
                _ => {}
            }
        }
    }
}

/// The log of a daemon from start to stop, with these settings of `[log]`. An option is a flag, or
/// a variable and its value.
async fn logged(simulator: &Simulator, settings: &str, options: &[(&str, &str)]) -> String {
    let address = free_address();
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n[log]\n{settings}\n\
         [[forward]]\nname = \"f\"\nlisten = \"{address}\"\ntarget = \"{TARGET}\"\nremote = 1\n",
        simulator.endpoint(),
    ));
    let mut command = caller(simulator);
    for (name, value) in options {
        match name.starts_with('-') {
            true => command.arg(name),
            false => command.env(name, value),
        };
    }
    let mut daemon = Process::start(command.args(["run", "--config"]).arg(file.path()));
    until("the daemon listens", || TcpStream::connect(address).is_ok()).await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
    daemon.stderr.all()
}
