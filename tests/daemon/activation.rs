//! Socket activation: sockets bound by a service manager.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use ssm_proxyd::sim::{Destination, Options, ServerKind, Simulator};

use crate::support::daemon_process::{File, assert_clean, assert_echo, connect, free_address};
use crate::support::in_process::{TARGET, destination};
use crate::support::process::{Process, behind};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_refuses_no_connection() {
    let mut fixture = Fixture::new(&["web", "local"]).await;
    assert_echo(&mut connect(fixture.address), b"hello");
    assert_echo_unix(&fixture.path, b"hello");
    fixture.kill("TERM");
    fixture.wait_for_log("ended 0");

    let mut waiting = connect(fixture.address);
    waiting.write_all(b"patience").unwrap();
    let path = fixture.path.clone();
    let unix = UnixStream::connect(&path).unwrap();
    fixture.restart();

    let mut received = [0; 8];
    waiting.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"patience");
    drop((waiting, unix));
    fixture.ends();
    assert!(path.exists(), "the socket file belongs to the manager");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_passed_sockets() {
    let mut fixture = Fixture::new(&["web"]).await;
    assert!(
        fixture
            .log("no forward uses this passed socket")
            .contains("name=\"local\"")
    );
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");

    fixture.write(&["local", "web"]);
    fixture.kill("HUP");

    fixture.log("reloaded");
    assert_echo(&mut client, b"still here");
    assert_echo(&mut connect(fixture.address), b"hello");
    assert_echo_unix(&fixture.path, b"hello");
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_was_not_passed_is_reported() {
    let mut fixture = Fixture::new(&["web", "db"]).await;

    let line = fixture.log("cannot listen on systemd:db");

    assert!(
        line.contains("no socket of that name was passed; available: local, web"),
        "{line}"
    );
    assert!(line.contains("FileDescriptorName=db"), "{line}");
    fixture.log("ready: 2 forwards, 1 failing");
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passed_socket_open_to_other_machines_must_be_allowed() {
    let mut fixture = Fixture::at("0.0.0.0", &["web"]).await;

    let line = fixture.log("cannot listen on systemd:web");

    assert!(
        line.contains("other machines could connect to 0.0.0.0:"),
        "{line}"
    );
    fixture.wait_for_log("ended 71");
}

fn assert_echo_unix(path: &Path, data: &[u8]) {
    let mut client = UnixStream::connect(path).unwrap();
    client.write_all(data).unwrap();
    let mut received = vec![0; data.len()];
    client.read_exact(&mut received).unwrap();
    assert_eq!(received, data);
}

/// A service manager, and a daemon with a forward for each name.
struct Fixture {
    simulator: Simulator,
    echo: Destination,
    file: File,
    manager: Process,
    pid: String,
    address: SocketAddr,
    path: PathBuf,
}

impl Fixture {
    async fn new(names: &[&str]) -> Self {
        Self::at("127.0.0.1", names).await
    }

    async fn at(host: &str, names: &[&str]) -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let echo = destination(ServerKind::Echo).await;
        let (file, address) = (File::new(""), free_address());
        let path = file.directory().join("local.sock");
        write(&file, &simulator, &echo, names);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/fake_systemd.py");
        let tcp = format!("{host}:{}", address.port());
        let mut command = behind("python3", &[script, &tcp, &path.display().to_string()]);
        command.args(["run", "--config"]).arg(file.path());
        let mut manager = Process::start(&mut command);
        let pid = pid(&manager.stdout.wait_for("pid "));
        Self {
            simulator,
            echo,
            file,
            manager,
            pid,
            address,
            path,
        }
    }

    fn write(&self, names: &[&str]) {
        write(&self.file, &self.simulator, &self.echo, names);
    }

    /// Sends the daemon a signal, once it listens.
    fn kill(&mut self, signal: &str) {
        let script = format!("kill -{signal} {}", self.pid);
        let status = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(status.success(), "{script}");
    }

    fn restart(&mut self) {
        let again = format!("{}.again", self.path.display());
        std::fs::write(again, "").unwrap();
        self.pid = pid(&self.manager.stdout.wait_for("pid "));
    }

    /// The output of the daemon.
    fn log(&mut self, data: &str) -> String {
        self.manager.stderr.wait_for(data)
    }

    /// The output of the manager.
    fn wait_for_log(&mut self, data: &str) -> String {
        self.manager.stdout.wait_for(data)
    }

    fn ends(&mut self) {
        self.kill("TERM");
        self.wait_for_log("ended 0");
        assert_clean(&self.simulator);
    }
}

fn write(file: &File, simulator: &Simulator, echo: &Destination, names: &[&str]) {
    let mut text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n",
        simulator.endpoint()
    );
    for name in names {
        text += &format!(
            "[[forward]]\nname = \"{name}\"\nlisten = \"systemd:{name}\"\n\
             target = \"{TARGET}\"\nremote = {}\n",
            echo.address().port()
        );
    }
    std::fs::write(file.path(), text).unwrap();
}

fn pid(line: &str) -> String {
    line.trim_start_matches("pid ").to_owned()
}
