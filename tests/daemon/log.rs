//! `[log]`: for whom lines are written, and which.

use std::net::TcpStream;

use serde_json::Value;
use ssm_proxyd::sim::{Options, Simulator};

use crate::support::process::Process;
use crate::support::running::{File, caller, vacant};
use crate::support::stage::{TARGET, until};

#[tokio::test(flavor = "multi_thread")]
async fn in_json_every_line_is_an_object_that_a_program_can_search() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let log = said(&simulator, "format = \"json\"", &[]).await;

    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let listening = lines.iter().find(|line| line["message"] == "listening");
    let listening = listening.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(listening["level"], "INFO");
    assert_eq!(listening["target"], "ssm_proxyd::forward");
    assert_eq!(listening["spans"][0]["name"], "forward");
    assert!(listening["timestamp"].is_string());
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "stopping" && line["signal"] == "SIGTERM")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_file_holds_unless_somebody_asked_for_another() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let level = "level = \"error\"";

    assert_eq!(said(&simulator, level, &[]).await, "");

    for asked in [&[("SSM_PROXYD_LOG", "info")][..], &[("-v", "")]] {
        let log = said(&simulator, level, asked).await;
        assert!(log.contains("listening"), "{asked:?}: {log}");
    }
    let log = said(&simulator, "level = \"debug\"", &[]).await;
    assert!(log.contains("DEBUG"), "{log}");
}

/// What a daemon says from start to stop, with these settings of `[log]`. What is asked for is a
/// flag, or a variable and its value.
async fn said(simulator: &Simulator, settings: &str, asked: &[(&str, &str)]) -> String {
    let address = vacant();
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n[log]\n{settings}\n\
         [[forward]]\nname = \"f\"\nlisten = \"{address}\"\ntarget = \"{TARGET}\"\nremote = 1\n",
        simulator.endpoint(),
    ));
    let mut command = caller(simulator);
    for (name, value) in asked {
        match name.starts_with('-') {
            true => command.arg(name),
            false => command.env(name, value),
        };
    }
    let mut daemon = Process::start(command.args(["run", "--config"]).arg(file.path()));
    until("it listens", || TcpStream::connect(address).is_ok()).await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
    daemon.stderr.all()
}
