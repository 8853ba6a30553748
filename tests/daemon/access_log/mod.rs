//! The access log: exactly one record for each accepted connection, with every reason.

mod content;
mod endings;
mod ledger;
mod proxy_reasons;
mod reasons;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use ssm_proxyd::sim::{Options, Simulator};
use ssm_proxyd::telemetry::EndReason;

use crate::support::daemon_process::{File, caller, free_address};
use crate::support::in_process::TARGET;
use crate::support::process::Process;

#[test]
fn the_documentation_has_a_row_for_each_reason() {
    let text = fs::read_to_string("docs/access-log.md").unwrap();
    let table = text.split("## Reasons").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    // After the head.
    let mut rows = rows.skip(1);

    for reason in EndReason::ALL {
        let party = reason.party().name();
        let expected = format!("| `{reason}` | {party} | {} |", reason.summary());
        assert_eq!(rows.next(), Some(expected.as_str()), "docs/access-log.md");
    }

    assert_eq!(rows.next(), None, "a row without a reason");
}

/// A daemon that logs JSON at level debug, with one forward `f` on a known address.
struct Fixture {
    simulator: Simulator,
    daemon: Process,
    address: SocketAddr,
    file: File,
}

impl Fixture {
    async fn new(options: Options, keys: &str) -> Self {
        Self::with(options, keys, &[]).await
    }

    async fn with(options: Options, keys: &str, arguments: &[&str]) -> Self {
        let simulator = Simulator::start(options).await.unwrap();
        let command = caller(&simulator);
        let endpoint = simulator.endpoint();
        Self::launch(simulator, command, &endpoint, keys, arguments)
    }

    /// Calls the API at `endpoint` instead of that of the simulator.
    fn launch(
        simulator: Simulator,
        mut command: Command,
        endpoint: &str,
        keys: &str,
        arguments: &[&str],
    ) -> Self {
        let address = free_address();
        let file = File::new("");
        let socket = file.directory().join("admin.sock");
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n\
             [log]\nformat = \"json\"\nlevel = \"debug\"\n[shutdown]\ndrain_timeout = \"0s\"\n\
             [limits]\nsession_start_rate = 1000\n[admin]\nsocket = {socket:?}\n\
             [[forward]]\nname = \"f\"\nlisten = \"{address}\"\ntarget = \"{TARGET}\"\n{keys}\n",
        );
        fs::write(file.path(), text).unwrap();
        command.arg("run").arg("--config").arg(file.path());
        let mut daemon = Process::start(command.args(arguments));
        daemon.stderr.wait_for("\"message\":\"listening\"");
        Self {
            simulator,
            daemon,
            address,
            file,
        }
    }

    /// Waits for the next record.
    fn record(&mut self) -> Value {
        parsed(&self.daemon.stderr.wait_for("\"ended_by\"")).unwrap()
    }

    /// Stops the daemon, and returns all records.
    fn stop(mut self) -> Vec<Value> {
        self.daemon.signal("TERM");
        assert_eq!(self.daemon.exit_code(), 0);
        records(&self.daemon.stderr.all())
    }
}

/// Returns the records in a log.
fn records(log: &str) -> Vec<Value> {
    let records: Vec<Value> = log.lines().filter_map(parsed).collect();
    let mut ids: Vec<u64> = records
        .iter()
        .map(|record| record["connection"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), records.len(), "one record each");
    records
}

fn parsed(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    value.get("ended_by").is_some().then_some(value)
}
