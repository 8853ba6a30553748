//! `forward` and `exec`: forwards without a daemon.

mod completions_and_man;
mod database_login;
mod documents;
mod exec;
mod exec_names;
mod forward;
mod psql;
mod relayed;
mod terminal;

use std::process::Command;

use ssm_proxyd::sim::Simulator;
use tempfile::TempDir;

use crate::support::daemon_process::caller;
use crate::support::in_process::TARGET;

/// The environment of a user: a home without a configuration, unless one is written.
struct Fixture {
    home: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes the configuration of the user.
    fn configure(&self, text: &str) {
        let directory = self.home.path().join(".config/ssm-proxyd");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("config.toml"), text).unwrap();
    }

    /// A command that uses the simulator as AWS.
    fn command(&self, simulator: &Simulator, arguments: &[&str]) -> Command {
        let mut command = caller(simulator);
        command
            .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .args(arguments);
        command
    }
}

/// A forward of the configuration, to a port of the target.
fn forward_in_file(name: &str, port: u16) -> String {
    format!("[[forward]]\nname = \"{name}\"\nlisten = 1\ntarget = \"{TARGET}\"\nremote = {port}\n")
}
