//! The admin socket, and the commands that use it.

mod commands;
mod detail;
mod progress;
mod top;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use ssm_proxyd::sim::{ApiFault, Destination, Operation, Options, ServerKind, Simulator};
use tempfile::TempDir;

use crate::cli::ended;
use crate::support::daemon_process::{assert_clean, assert_names, caller, free_address};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_private_and_answers_each_line_with_a_line_of_json() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let mode = std::fs::metadata(fixture.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let stream = UnixStream::connect(fixture.socket()).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let mut request = |line: &str| -> Value {
        (&stream).write_all(format!("{line}\n").as_bytes()).unwrap();
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    assert_eq!(
        request(r#"{"command":"status"}"#)["status"]["forwards"][0]["name"],
        "f"
    );
    for bad in [
        "",
        "{",
        "[]",
        r#"{"command":"explode"}"#,
        r#"{"command":"stop","later":1}"#,
    ] {
        assert_eq!(request(bad)["error"]["kind"], "request", "{bad}");
    }
    assert_eq!(
        request(r#"{"command":"reload"}"#)["reloaded"]["unchanged"],
        1
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_answered_by_a_daemon_without_free_descriptors() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let pid = fixture.daemon().id();
    // Once it has answered, it holds its spare descriptor.
    assert_eq!(fixture.run(&["status"]).0, 0);
    let target = |number: &u64| std::fs::read_link(format!("/proc/{pid}/fd/{number}"));
    let free = (0..).find(|number| target(number).is_err()).unwrap();
    let is_null = |number: &u64| target(number).is_ok_and(|path| path == Path::new("/dev/null"));
    let spare = (0..1000).rev().find(is_null).unwrap_or_default();
    let limit = Some(free.max(spare + 1));
    let pid = Pid::from_raw(pid.cast_signed());
    let limit = Rlimit {
        current: limit,
        ..getrlimit(Resource::Nofile)
    };
    let former = prlimit(pid, Resource::Nofile, limit).unwrap();

    for _ in 0..2 {
        let (code, _, told) = fixture.run(&["status"]);
        assert_eq!(code, 0, "{told}");
    }

    prlimit(pid, Resource::Nofile, former).unwrap();
    fixture.ends();
}

/// The permissions of the file are one protection; this is the other.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_rejected() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(fixture.socket(), open.clone()).unwrap();
    std::fs::set_permissions(fixture.directory.path(), open).unwrap();
    let program = "import os, socket, sys\n\
        os.setuid(65534)\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        s.settimeout(60)\n\
        try: s.sendall(b'{\"command\":\"stop\"}\\n'); print(s.recv(100))\n\
        except OSError: print(b'')\n";
    let mut other = Command::new("python3");
    other.args(["-c", program]).arg(fixture.socket());

    let output = other.output().unwrap();

    if !output.status.success() {
        eprintln!("SKIPPED: only root can become another user");
    } else {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "b''\n");
        fixture
            .daemon()
            .stderr
            .wait_for("rejected an admin connection");
    }
    fixture.ends();
}

/// Every user who may open the directory of the socket can lock it, and in /tmp can create files in
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_cannot_prevent_the_socket_from_being_bound() {
    let mut fixture = Fixture::new("").await;
    let open = std::fs::Permissions::from_mode(0o1777);
    std::fs::set_permissions(fixture.directory.path(), open).unwrap();
    let program = "import fcntl, os, sys, time\n\
        os.setuid(65534)\n\
        held = [os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)]\n\
        held.append(os.open(sys.argv[1] + '.lock', os.O_RDWR | os.O_CREAT, 0o666))\n\
        for each in held: fcntl.flock(each, fcntl.LOCK_EX)\n\
        print('locked', flush=True)\n\
        time.sleep(600)\n";
    let mut other = Command::new("python3");
    let other = other.args(["-c", program]).arg(fixture.socket());
    if !crate::support::daemon_process::is_root() {
        return eprintln!("SKIPPED: only root can become another user");
    }
    let mut other = Process::start(other);
    other.stdout.wait_for("locked");

    fixture.start();

    assert_eq!(fixture.run(&["status"]).0, 0);
    drop(other);
    fixture.ends();
}

/// If another user can bind the expected path, that user could send any response and read the
/// requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_of_another_user_gets_no_request() {
    if !crate::support::daemon_process::is_root() {
        return eprintln!("SKIPPED: only root can become another user");
    }
    let directory = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), open.clone()).unwrap();
    let socket = directory.path().join("admin.sock");
    let impostor = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, open).unwrap();
    let binary = directory.path().join("ssm-proxyd");
    std::fs::copy(ssm_proxyd().get_program(), &binary).unwrap();
    let program = "import os, subprocess, sys\n\
        os.setuid(65534)\n\
        done = subprocess.run([sys.argv[1], 'status', '--socket', sys.argv[2]], capture_output=True, text=True)\n\
        print(done.returncode, done.stderr)\n";
    let mut other = Command::new("python3");
    other.args(["-c", program]).arg(&binary).arg(&socket);
    for (name, value) in ssm_proxyd().get_envs() {
        value.map(|value| other.env(name, value));
    }

    let output = other.env_remove("HOME").output().unwrap();

    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_names(&output, &["belongs to another user"]);
    impostor.set_nonblocking(true).unwrap();
    let mut received = String::new();
    let (mut requests, _) = impostor.accept().unwrap();
    std::io::Read::read_to_string(&mut requests, &mut received).unwrap();
    assert_eq!(received, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_use_is_kept_and_a_stale_one_is_replaced() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let text = std::fs::read_to_string(fixture.file()).unwrap();
    let second = fixture.directory.path().join("second.toml");
    std::fs::write(
        &second,
        text.replace(&fixture.address.to_string(), "127.0.0.1:0"),
    )
    .unwrap();

    let (code, _, output) = ended(
        caller(&fixture.simulator)
            .args(["run", "--config"])
            .arg(&second),
    );
    assert_eq!(code, 71, "{output}");
    assert_names(
        &output,
        &["[admin]: cannot listen on unix:", "in use", "hint: "],
    );
    assert_eq!(
        fixture.run(&["status"]).0,
        0,
        "the first daemon is unchanged"
    );

    fixture.daemon().signal("KILL");
    fixture.daemon().wait();
    assert!(fixture.socket().exists());
    fixture.start();
    assert_eq!(fixture.run(&["status"]).0, 0);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_setting_the_socket_is_in_the_runtime_directory_of_the_user() {
    let mut fixture = Fixture::new("").await;
    let text = std::fs::read_to_string(fixture.file()).unwrap();
    let (before, admin) = text.split_once("[admin]").unwrap();
    let (_, after) = admin.split_once('\n').unwrap().1.split_once('\n').unwrap();
    std::fs::write(fixture.file(), format!("{before}{after}")).unwrap();
    let runtime = fixture.directory.path().join("run");
    fixture.runtime = Some(runtime.clone());
    fixture.start();

    let socket = runtime.join("ssm-proxyd/admin.sock");
    until("the socket exists", || socket.exists()).await;
    let mut command = ssm_proxyd();
    command
        .env("XDG_RUNTIME_DIR", &runtime)
        .arg("status")
        .arg("--config")
        .arg(fixture.file());
    let (code, output, _) = ended(&mut command);
    assert_eq!(code, 0);
    assert!(output.contains("ready"), "{output}");
    // Another daemon of the same user runs without an admin socket.
    let mut second = caller(&fixture.simulator);
    let text = std::fs::read_to_string(fixture.file()).unwrap();
    let file = fixture.directory.path().join("second.toml");
    std::fs::write(
        &file,
        text.replace(&fixture.address.to_string(), "127.0.0.1:0"),
    )
    .unwrap();
    second
        .env("XDG_RUNTIME_DIR", &runtime)
        .args(["run", "--config"])
        .arg(&file);
    let mut second = Process::start(&mut second);
    second.stderr.wait_for("no admin socket");
    second.stderr.wait_for("listening");
    second.signal("TERM");
    assert_eq!(second.exit_code(), 0);
    assert!(socket.exists(), "the second daemon must not remove it");
    fixture.ends();
}

/// A daemon with an admin socket and one forward to an echo.
struct Fixture {
    simulator: Simulator,
    echo: Destination,
    directory: TempDir,
    address: SocketAddr,
    runtime: Option<PathBuf>,
    daemon: Option<Process>,
}

impl Fixture {
    /// With these keys of the forward.
    async fn new(keys: &str) -> Self {
        let fixture = Self {
            simulator: Simulator::start(Options::default()).await.unwrap(),
            echo: destination(ServerKind::Echo).await,
            directory: tempfile::tempdir().unwrap(),
            address: free_address(),
            runtime: None,
            daemon: None,
        };
        let remote = format!("remote = {}\n{keys}", fixture.echo.address().port());
        fixture.write(&fixture.forward(&remote));
        fixture
    }

    fn forward(&self, keys: &str) -> String {
        let listen = self.address;
        format!("[[forward]]\nname = \"f\"\nlisten = \"{listen}\"\ntarget = \"{TARGET}\"\n{keys}\n")
    }

    fn write(&self, forwards: &str) {
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n\
             [limits]\nsession_start_rate = 1000\n[admin]\nsocket = {:?}\n{forwards}",
            self.simulator.endpoint(),
            self.socket(),
        );
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    fn start(&mut self) {
        let mut command = caller(&self.simulator);
        if let Some(runtime) = &self.runtime {
            command.env("XDG_RUNTIME_DIR", runtime);
        }
        command.args(["run", "--config"]).arg(self.file());
        let mut daemon = Process::start(&mut command);
        daemon.stderr.wait_for("listening");
        self.daemon = Some(daemon);
    }

    fn daemon(&mut self) -> &mut Process {
        self.daemon.as_mut().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ssm_proxyd();
        command.args(arguments).arg("--config").arg(self.file());
        command
    }

    /// The exit code, stdout and stderr of a command.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        ended(&mut self.command(arguments))
    }

    fn status(&self) -> Value {
        let (code, json, output) = self.run(&["status", "--json"]);
        assert_eq!(code, 0, "{output}");
        serde_json::from_str(&json).unwrap()
    }

    fn refuse_next(&self, code: &str) {
        let fault = ApiFault {
            code: code.to_owned(),
            times: Some(1),
        };
        self.simulator.fail(Operation::StartSession, fault);
    }

    fn ends(&mut self) {
        assert!(TcpStream::connect(self.address).is_ok());
        self.daemon().signal("TERM");
        assert_eq!(self.daemon().exit_code(), 0);
        assert_clean(&self.simulator);
    }
}
