//! A daemon some of whose forwards cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use ssm_proxyd::sim::{Destination, Options, ServerKind, Simulator};

use crate::cli::ended;
use crate::support::daemon_process::{File, assert_clean, caller, free_address};
use crate::support::in_process::{TARGET, destination};
use crate::support::process::{Process, ssm_proxyd};

/// A daemon with a forward to an echo, an admin socket, HTTP and an AWS configuration file.
pub(super) struct Fixture {
    pub(super) simulator: Simulator,
    pub(super) echo: Destination,
    pub(super) file: File,
    pub(super) http: SocketAddr,
    pub(super) daemon: Option<Process>,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let fixture = Self {
            simulator: Simulator::start(Options::default()).await.unwrap(),
            echo: destination(ServerKind::Echo).await,
            file: File::new(""),
            http: free_address(),
            daemon: None,
        };
        fixture.write_profile("other");
        fixture
    }

    pub(super) fn forward(&self, name: &str, listen: &str, keys: &str) -> String {
        let port = self.echo.address().port();
        format!(
            "[[forward]]\nname = \"{name}\"\nlisten = \"{listen}\"\ntarget = \"{TARGET}\"\n\
             remote = {port}\n{keys}\n"
        )
    }

    pub(super) fn write(&self, forwards: &str) {
        let (endpoint, http) = (self.simulator.endpoint(), self.http);
        let admin = self.socket().display().to_string();
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n\
             [shutdown]\ndrain_timeout = \"0s\"\n[admin]\nsocket = {admin:?}\n\
             [http]\nlisten = \"{http}\"\n{forwards}"
        );
        std::fs::write(self.file.path(), text).unwrap();
    }

    /// Writes the AWS configuration file with this profile only.
    pub(super) fn write_profile(&self, name: &str) {
        let keys = &self.simulator.options().credentials;
        let (id, secret) = (&keys.access_key_id, &keys.secret_access_key);
        let text = format!(
            "[profile {name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"
        );
        std::fs::write(self.profiles(), text).unwrap();
    }

    pub(super) fn profiles(&self) -> PathBuf {
        self.file.directory().join("aws")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.file.directory().join("admin.sock")
    }

    pub(super) fn command(&self) -> Command {
        let mut command = caller(&self.simulator);
        command.env("AWS_CONFIG_FILE", self.profiles());
        command.args(["run", "--config"]).arg(self.file.path());
        command
    }

    pub(super) fn start(&mut self) {
        self.daemon = Some(Process::start(&mut self.command()));
    }

    pub(super) fn logged(&mut self, text: &str) -> String {
        self.daemon.as_mut().unwrap().stderr.wait_for(text)
    }

    pub(super) fn signal(&self, name: &str) {
        self.daemon.as_ref().unwrap().signal(name);
    }

    pub(super) fn reload(&mut self, text: &str) -> String {
        self.signal("HUP");
        self.logged(text)
    }

    pub(super) fn status(&self) -> Value {
        let mut command = ssm_proxyd();
        command.args(["status", "--json", "--socket"]);
        let (code, stdout, stderr) = ended(command.arg(self.socket()));
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// The name and the state of each forward.
    pub(super) fn states(&self) -> Vec<String> {
        let status = self.status();
        let forwards = status["forwards"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        forwards
            .map(|forward| format!("{} {}", text(&forward["name"]), text(&forward["state"])))
            .collect()
    }

    pub(super) fn http(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.http);
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "-w", "%{http_code}", &url]);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, code) = text.split_at(text.len() - 3);
        (code.parse().unwrap(), body.to_owned())
    }

    /// Stops the daemon and returns its log.
    pub(super) fn ends(&mut self) -> String {
        let daemon = self.daemon.as_mut().unwrap();
        daemon.signal("TERM");
        let code = daemon.exit_code();
        let log = daemon.stderr.all();
        assert_eq!(code, 0, "{log}");
        assert_clean(&self.simulator);
        log
    }
}
