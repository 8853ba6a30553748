//! `doctor`: one seeded fault per test, with the verdicts and remedies that it causes as a snapshot in
//! `doctor/expected`.
//!
//! After a change regenerate them and read the difference as a user would:
//! `WRITE_EXPECTED=1 cargo test --test all doctor::`.

mod account;
mod interrupted;
mod local;
mod network;
mod output;
mod self_test;
mod service;
mod session;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use ssm_proxyd::sim::{Options, Simulator};

use crate::support::daemon_process::{File, assert_clean, caller};
use crate::support::in_process::TARGET;
use crate::support::process::{Process, ssm_proxyd};

/// The result of a run.
struct Examined {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `doctor` for all forwards of a file with these tables, which the simulator serves.
fn examine(simulator: &Simulator, tables: &str) -> Examined {
    examine_by(caller(simulator), &with_endpoint(simulator, tables), &[])
}

/// A file whose SSM API is a simulator.
fn with_endpoint(simulator: &Simulator, tables: &str) -> String {
    file(&simulator.endpoint(), tables)
}

/// A file whose SSM API is at this endpoint.
fn file(endpoint: &str, tables: &str) -> String {
    format!("[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n{tables}")
}

/// Runs `doctor` with this environment, file and arguments.
fn examine_by(mut command: Command, text: &str, arguments: &[&str]) -> Examined {
    let file = File::new(text);
    command.arg("doctor").arg("--config").arg(file.path());
    let mut examined = finish(command.args(arguments));
    let path = file.path().display().to_string();
    examined.stdout = examined.stdout.replace(&path, "CONFIG");
    examined.stderr = examined.stderr.replace(&path, "CONFIG");
    examined
}

/// Runs a command to its end.
fn finish(command: &mut Command) -> Examined {
    let mut process = Process::start(command);
    let code = process.exit_code();
    Examined {
        code,
        stdout: process.stdout.all(),
        stderr: process.stderr.all(),
    }
}

/// A forward to a port of the target.
fn forward(port: u16) -> String {
    forward_with(&format!("target = \"{TARGET}\"\nremote = {port}\n"))
}

/// A forward that listens on a free port, with these keys.
fn forward_with(keys: &str) -> String {
    format!("[[forward]]\nname = \"f\"\nlisten = \"127.0.0.1:0\"\n{keys}")
}

/// What a fake of the SSM API answers about the target and its document; to other calls `{}`.
fn describe(operation: &str) -> (u16, String) {
    let body = match operation {
        "DescribeInstanceInformation" => json!({ "InstanceInformationList": [{
            "InstanceId": TARGET,
            "PingStatus": "Online",
            "AgentVersion": "3.3.987.0",
        }]}),
        "DescribeDocument" => json!({ "Document": {
            "DocumentType": "Session",
            "Parameters": [{ "Name": "portNumber", "DefaultValue": "80" }],
        }}),
        _ => json!({}),
    };
    (200, body.to_string())
}

/// A simulator of options that it may change.
async fn simulator(change: impl FnOnce(&mut Options)) -> Simulator {
    let mut options = crate::support::in_process::unpaced();
    change(&mut options);
    Simulator::start(options).await.unwrap()
}

impl Examined {
    /// Compares the result with a snapshot.
    fn assert_as(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/expected");
        let path = path.join(format!("{name}.txt"));
        let shown = self.normalized();
        if std::env::var_os("WRITE_EXPECTED").is_some() {
            fs::write(&path, &shown).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(shown, expected, "{}", path.display());
    }

    /// The exit code and the output, without what differs between runs.
    fn normalized(&self) -> String {
        let stderr = match self.stderr.as_str() {
            "" => String::new(),
            stderr => format!("\nstderr:\n{stderr}"),
        };
        let text = format!("exit code {}\n\n{}{stderr}", self.code, self.stdout);
        let is_digit = |c: char| c.is_ascii_digit();
        let is_time = |c: char| is_digit(c) || " hms".contains(c);
        let text = cut(&text, "127.0.0.1:", is_digit, "PORT");
        let text = cut(&text, "localhost:", is_digit, "PORT");
        let text = cut(&text, "process ", is_digit, "PID");
        let text = cut(&text, "session simulator-", |c| c.is_ascii_hexdigit(), "ID");
        let text = cut(&text, "scope is ", is_digit, "DATE");
        cut(&text, "they expire in ", is_time, "N")
    }

    /// Asserts that a line says that a check has this result.
    fn assert_says(&self, verdict: &str, check: &str, text: &str) {
        let begin = format!("{verdict}  {check} ");
        let mut lines = self.stdout.lines().filter(|line| line.starts_with(&begin));
        let is_said = lines.any(|line| line.contains(text));
        assert!(
            is_said,
            "{verdict} {check} {text}:\n{}{}",
            self.stdout, self.stderr
        );
    }
}

/// Replaces the characters that fit after each `begin`.
fn cut(text: &str, begin: &str, fits: impl Fn(char) -> bool, by: &str) -> String {
    let mut parts = text.split(begin);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(&fits);
        let by = if rest.len() < part.len() { by } else { "" };
        replaced += &format!("{begin}{by}{rest}");
    }
    replaced
}
