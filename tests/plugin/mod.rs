//! This program as `session-manager-plugin`: called as the AWS CLI calls it, and by the AWS CLI.
//!
//! ```text
//!   mod.rs       port sessions: lines, arguments, further sessions, ends
//!   refusals.rs  what cannot be served: wrong arguments, shells, addresses in use
//!   sharing.rs   connections that share a session
//!   stdio.rs     ssh sessions
//!   signals.rs   signals at each moment
//!   early_ends.rs    failures before a session is served
//!   lost_sessions.rs  sessions that end meanwhile, callers that are killed
//!   credentials.rs   missing credentials
//!   surroundings.rs  copies, taken addresses, readers that do not read
//!   aws_cli.rs   the real AWS CLI
//!   link.rs      `plugin --install` and `--remove`
//! ```

mod aws_cli;
mod credentials;
mod early_ends;
mod link;
mod lost_sessions;
mod refusals;
mod sharing;
mod signals;
mod stdio;
mod surroundings;

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use ssm_proxyd::sim::{
    Action, Direction, DisconnectKind, Faults, MessageFault, OneOffFault, Options, ServerKind,
    Simulator, Subject,
};
use tempfile::TempDir;

use crate::support::daemon_process::{assert_clean, assert_echo, caller, connect};
use crate::support::in_process::{TARGET, destination, resolving, until};
use crate::support::official_client::start_session_with;
use crate::support::process::{Process, take_environment};

/// A simulator, and a home with a link to this program by the name of the plugin.
struct Fixture {
    simulator: Simulator,
    home: TempDir,
}

impl Fixture {
    async fn new(options: Options) -> Self {
        let fixture = Self {
            simulator: Simulator::start(options).await.unwrap(),
            home: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(fixture.links()).unwrap();
        symlink(env!("CARGO_BIN_EXE_ssm-proxyd"), fixture.plugin()).unwrap();
        fixture
    }

    /// The directory of the link.
    fn links(&self) -> PathBuf {
        self.home.path().join("bin")
    }

    fn plugin(&self) -> PathBuf {
        self.links().join("session-manager-plugin")
    }

    /// A program with the environment of a user of the AWS CLI.
    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        take_environment(&mut command, &caller(&self.simulator));
        command
            .env("HOME", self.home.path())
            .env("PATH", self.links())
            .env_remove("XDG_CONFIG_HOME")
            .stdin(std::process::Stdio::null());
        command
    }

    /// The plugin with these arguments.
    fn call(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(&self.plugin());
        command.args(arguments);
        command
    }

    /// Starts a session and returns the plugin for it, as the AWS CLI calls it.
    async fn session(&self, request: &Value) -> Command {
        let response = start_session_with(&self.simulator, request).await;
        let mut command = self.call(&[VARIABLE, "us-east-1", "StartSession", ""]);
        command
            .arg(request.to_string())
            .arg(self.simulator.endpoint())
            .env(VARIABLE, response.to_string());
        command
    }

    /// A running plugin for a session to a port of the target.
    async fn port_session(&self, port: u16) -> Process {
        Process::start(&mut self.session(&port_request(port)).await)
    }

    /// Makes Session Manager end all sessions, because they are idle.
    async fn end_sessions(&self) {
        self.simulator.set_faults(Faults {
            idle_timeout: Some(Duration::from_millis(200)),
            ..Faults::default()
        });
        until("the sessions have ended", || {
            self.simulator.open_sessions() == 0
        })
        .await;
        self.simulator.set_faults(Faults::default());
    }

    fn session_id(&self) -> String {
        self.simulator.ledger().sessions[0].session_id.clone()
    }

    /// Asserts that no session is open, that each was terminated, and that none violated the
    /// protocol.
    fn assert_clean(&self) {
        assert_clean(&self.simulator);
        for session in self.simulator.ledger().sessions {
            assert!(session.terminate_called, "{session:#?}");
        }
    }
}

fn port_request(port: u16) -> Value {
    json!({
        "Target": TARGET,
        "DocumentName": "AWS-StartPortForwardingSession",
        "Parameters": { "portNumber": [port.to_string()] },
    })
}

/// The address in `Port … opened for sessionId ….`
fn opened(plugin: &mut Process) -> SocketAddr {
    let line = plugin.stdout.wait_for(" opened for sessionId ");
    let port = line.strip_prefix("Port ").unwrap();
    let (port, _) = port.split_once(' ').unwrap();
    let port = port.parse::<u16>().unwrap();
    plugin.stdout.wait_for("Waiting for connections...");
    ([127, 0, 0, 1], port).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_and_the_exit_code_are_those_of_the_official_plugin() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut plugin = fixture.port_session(echo.address().port()).await;
    let address = opened(&mut plugin);
    let id = fixture.session_id();

    assert_echo(&mut connect(address), b"hello");
    plugin.stdout.wait_for("Connection accepted for session");
    plugin.signal("INT");

    assert_eq!(plugin.exit_code(), 0);
    let port = address.port();
    assert_eq!(
        plugin.stdout.all(),
        format!(
            "\nStarting session with SessionId: {id}\n\
             Port {port} opened for sessionId {id}.\n\
             Waiting for connections...\n\n\
             Connection accepted for session [{id}]\n\
             Terminate signal received, exiting.\n\n\n\
             Exiting session with sessionId: {id}.\n\n"
        )
    );
    assert_eq!(plugin.stderr.all(), "");
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_connection_uses_the_session_and_each_other_one_of_its_own() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut request = port_request(echo.address().port());
    request["Reason"] = json!("INC-1");
    let mut command = fixture.session(&request).await;
    let token = token_of(&command);
    let mut plugin = Process::start(command.env("SSM_PROXYD_LOG", "trace"));
    let address = opened(&mut plugin);

    let mut first = connect(address);
    assert_echo(&mut first, b"one");
    assert_eq!(fixture.simulator.ledger().sessions.len(), 1);
    let mut second = connect(address);
    assert_echo(&mut second, b"two");
    assert_echo(&mut first, b"one again");

    let sessions = fixture.simulator.ledger().sessions;
    let [ours, further] = &sessions[..] else {
        panic!("{sessions:#?}")
    };
    assert_eq!(further.document, ours.document);
    assert_eq!(further.parameters, ours.parameters);
    assert_eq!(further.target, ours.target);
    assert!(further.reason.contains("INC-1"), "{}", further.reason);
    plugin.signal("TERM");
    assert_eq!(plugin.exit_code(), 0);
    let log = plugin.stderr.all();
    assert!(log.contains("TRACE") && !log.contains(&token), "{log}");
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_before_a_connection_is_replaced() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let request = port_request(echo.address().port());
    let mut command = fixture.session(&request).await;
    let mut plugin = Process::start(command.env("SSM_PROXYD_LOG", "debug"));
    let address = opened(&mut plugin);

    fixture.end_sessions().await;
    plugin.stderr.wait_for("session terminated");
    assert_echo(&mut connect(address), b"hello");

    assert_eq!(fixture.simulator.ledger().sessions.len(), 2);
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    assert_clean(&fixture.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_continues_after_its_websocket_broke() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut plugin = fixture.port_session(echo.address().port()).await;
    let mut client = connect(opened(&mut plugin));
    assert_echo(&mut client, b"before");

    let broken = OneOffFault::Break(DisconnectKind::Reset);
    fixture.simulator.inject(None, broken);
    assert_echo(&mut client, b"after");

    let ledger = fixture.simulator.ledger();
    assert_eq!(ledger.sessions.len(), 1);
    assert_eq!(ledger.sessions[0].resumes, 1);
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_connection_is_terminated() {
    let fixture = Fixture::new(Options::default()).await;
    let mut plugin = fixture.port_session(9).await;
    opened(&mut plugin);

    plugin.signal("INT");

    assert_eq!(plugin.exit_code(), 0);
    fixture.assert_clean();
    let sessions = fixture.simulator.ledger().sessions;
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_agent_has_answered_ends_the_session() {
    let fixture = Fixture::new(Options::default()).await;
    fixture.simulator.set_faults(Faults {
        messages: vec![MessageFault {
            action: Action::Drop,
            every: 1,
            direction: Some(Direction::ToAgent),
            subject: Subject::Handshake,
        }],
        ..Faults::default()
    });
    let mut plugin = fixture.port_session(9).await;
    plugin.stdout.wait_for("Starting session with SessionId: ");
    until("the websocket is open", || {
        fixture.simulator.ledger().sessions[0].upgrades > 0
    })
    .await;

    plugin.signal("INT");

    assert_eq!(plugin.exit_code(), 0);
    plugin
        .stdout
        .wait_for("Terminate signal received, exiting.");
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_cannot_reach_its_destination_is_reported() {
    let fixture = Fixture::new(Options::default()).await;
    let mut plugin = fixture.port_session(1).await;
    let address = opened(&mut plugin);

    let _refused = connect(address);

    let line = "Connection to destination port failed, check SSM Agent logs.";
    plugin.stdout.wait_for(line);
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_may_name_a_host_or_a_unix_socket() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(resolving("echo.internal", echo.address())).await;
    let remote = json!({
        "Target": TARGET,
        "DocumentName": "AWS-StartPortForwardingSessionToRemoteHost",
        "Parameters": { "host": ["echo.internal"], "portNumber": ["7"], "localPortNumber": ["0"] },
    });
    let mut plugin = Process::start(&mut fixture.session(&remote).await);
    assert_echo(&mut connect(opened(&mut plugin)), b"by name");
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);

    let path = fixture.home.path().join("socket");
    let socket = json!({
        "Target": TARGET,
        "DocumentName": "AWS-StartPortForwardingSessionToSocket",
        "Parameters": {
            "portNumber": [echo.address().port().to_string()],
            "localUnixSocket": [path],
        },
    });
    let mut plugin = Process::start(&mut fixture.session(&socket).await);
    let line = plugin.stdout.wait_for(" opened for sessionId ");

    assert!(
        line.starts_with(&format!("Unix socket {} opened", path.display())),
        "{line}"
    );
    assert_eq!(echoed(&path, b"over a socket"), b"over a socket");
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    assert!(!path.exists(), "the socket file is removed");
    fixture.assert_clean();
}

/// Sends bytes over a Unix socket and returns the answer.
fn echoed(path: &Path, bytes: &[u8]) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut client = std::os::unix::net::UnixStream::connect(path).unwrap();
    let mut answer = vec![0; bytes.len()];
    client.write_all(bytes).unwrap();
    client.read_exact(&mut answer).unwrap();
    answer
}

/// The token in the environment of a command.
fn token_of(command: &Command) -> String {
    let mut variables = command.get_envs();
    let (_, response) = variables.find(|(name, _)| *name == VARIABLE).unwrap();
    let response = response.unwrap().to_str().unwrap();
    let response: Value = serde_json::from_str(response).unwrap();
    response["TokenValue"].as_str().unwrap().to_owned()
}

const VARIABLE: &str = "AWS_SSM_START_SESSION_RESPONSE";

/// Copies the program by a process of its own: other tests start processes meanwhile, which would
/// inherit an open copy, and a file that is open for writing cannot be executed.
fn copy_program(to: &Path) {
    let mut copy = Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_ssm-proxyd")).arg(to);
    assert!(copy.status().unwrap().success());
}
