//! A container: a user without a name, no HOME, a read-only root, and ten seconds between TERM and
//! KILL.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, File, assert_clean, assert_echo, assert_names, assert_reset, caller, connect,
    forward_to, listening,
};
use crate::support::in_process::destination;
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_daemon_in_its_container_and_no_session_is_left() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let Some(container) = Container::new(&simulator, &forward_to(echo.address()), "1777") else {
        return;
    };
    let mut daemon = container.start();
    let warning = daemon.stderr.wait_for("no journal");
    let socket = daemon.stderr.wait_for("accepting commands");
    let (_, address) = listening(&daemon.stderr.wait_for("listening"));
    let mut clients = [connect(address), connect(address)];
    for client in &mut clients {
        assert_echo(client, b"hello");
    }

    assert_names(&warning, &["WARN", "STATE_DIRECTORY"]);
    assert_names(&socket, &["INFO", "/tmp/ssm-proxyd-54321/admin.sock"]);
    for command in [&["status"][..], &["wait", "f"]] {
        let output = container.run_inside(&daemon, command);
        assert!(output.status.success(), "{command:?}: {output:?}");
    }

    daemon.signal("TERM");
    let kill = format!("sleep 10; kill -KILL {}", daemon.id());
    let mut kill = Command::new("sh").args(["-c", &kill]).spawn().unwrap();
    let code = daemon.exit_code();
    kill.kill().unwrap();
    kill.wait().unwrap();

    assert_eq!(code, 0, "{}", daemon.stderr.all());
    assert_clean(&simulator);
    clients.into_iter().for_each(assert_reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_system_is_a_warning() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let forwards = forward_to("127.0.0.1:9".parse().unwrap());
    let Some(container) = Container::new(&simulator, &forwards, "0755") else {
        return;
    };

    let mut daemon = container.start();
    let warnings = [
        daemon.stderr.wait_for("no journal"),
        daemon.stderr.wait_for("no admin socket"),
    ];

    daemon.stderr.wait_for("ready: 1 forward");
    assert_names(&warnings[1], &["WARN", "/run/ssm-proxyd", "[admin]"]);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_idle_connections_end_first_and_all_in_time() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = without_setting(&simulator, &forward_to(echo.address()), caller(&simulator));
    let mut idle = connect(daemon.address());
    assert_echo(&mut idle, b"hello");
    let busy = busy(connect(daemon.address()));

    daemon.process.signal("TERM");

    assert_reset(idle);
    assert!(!busy.is_finished(), "the busy connection must end later");
    busy.join().unwrap();
    let log = daemon.stop(&simulator);
    assert_names(&log, &["timeout=5.5s", "all sessions are terminated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_service_manager_connections_may_continue_for_longer() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut command = caller(&simulator);
    command.env("INVOCATION_ID", "0123456789abcdef0123456789abcdef");
    let mut daemon = without_setting(&simulator, &forward_to(echo.address()), command);
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"hello");

    daemon.process.signal("TERM");
    let line = daemon
        .process
        .stderr
        .wait_for("waiting for open connections");

    assert_names(&line, &["timeout=30s"]);
    assert_echo(&mut client, b"still here");
    drop(client);
    assert_eq!(daemon.process.exit_code(), 0);
    assert_clean(&simulator);
}

/// A daemon whose file has no `[shutdown]` table.
fn without_setting(simulator: &Simulator, forwards: &str, mut command: Command) -> DaemonProcess {
    command.env_remove("NOTIFY_SOCKET");
    let endpoint = simulator.endpoint();
    let aws = format!("[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n");
    DaemonProcess::of_file(command, &(aws + forwards))
}

/// Sends and receives continuously until it is reset.
fn busy(mut client: TcpStream) -> thread::JoinHandle<()> {
    assert_echo(&mut client, b"hello");
    thread::spawn(move || {
        let mut answer = [0; 4];
        loop {
            let carried = client
                .write_all(b"busy")
                .and_then(|()| client.read_exact(&mut answer));
            match carried {
                Ok(()) => thread::sleep(Duration::from_millis(20)),
                Err(error) => {
                    let is_end = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                    assert!(is_end.contains(&error.kind()), "{error}");
                    return;
                }
            }
        }
    })
}

/// The environment of a container: its own mounts, most of them read-only.
struct Container {
    file: File,
    credentials: Vec<(String, String)>,
    /// The mode of /tmp.
    temporary: String,
}

impl Container {
    /// `None`, with a message, if this process may not mount.
    fn new(simulator: &Simulator, forwards: &str, temporary: &str) -> Option<Self> {
        let trial = "mount -t tmpfs tmpfs /run && setpriv --reuid 54321 --clear-groups true";
        let mut command = Command::new("unshare");
        let tried = command.args(["--mount", "sh", "-c", trial]).output();
        if !tried.is_ok_and(|tried| tried.status.success()) {
            eprintln!("SKIPPED: unshare, mount and setpriv are not installed or not permitted");
            return None;
        }
        let endpoint = simulator.endpoint();
        let aws = format!("[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n");
        let credentials = caller(simulator);
        let credentials = credentials.get_envs().filter_map(|(name, value)| {
            let name = name.to_str()?;
            let value = value?.to_str()?;
            name.starts_with("AWS_")
                .then(|| (name.to_owned(), value.to_owned()))
        });
        Some(Self {
            file: File::new(&(aws + forwards)),
            credentials: credentials.collect(),
            temporary: temporary.to_owned(),
        })
    }

    fn start(&self) -> Process {
        let (mode, file) = (&self.temporary, self.file.path().display().to_string());
        let binary = ssm_proxyd().get_program().to_str().unwrap().to_owned();
        let script = format!(
            "set -e\n\
             mount -t tmpfs -o mode=0755 tmpfs /run\n\
             touch /run/ssm-proxyd.bin\n\
             mount --bind '{binary}' /run/ssm-proxyd.bin\n\
             cp '{file}' /run/config.toml\n\
             chmod 644 /run/config.toml\n\
             mount -t tmpfs -o mode={mode} tmpfs /tmp\n\
             mount -o remount,bind,ro /\n\
             exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]);
        Process::start(self.user(&mut command, &["run", "--config", "/run/config.toml"]))
    }

    /// Runs our binary like `docker exec` does.
    fn run_inside(&self, daemon: &Process, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &daemon.id().to_string()]);
        self.user(&mut command, arguments).output().unwrap()
    }

    /// Adds our binary, run by a user without a name and with a small environment.
    fn user<'a>(&self, command: &'a mut Command, arguments: &[&str]) -> &'a mut Command {
        command.args(["setpriv", "--reuid", "54321", "--regid", "54321"]);
        command
            .args(["--clear-groups", "/run/ssm-proxyd.bin"])
            .args(arguments);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.credentials.clone()).current_dir("/")
    }
}
