//! A reload whose file cannot be read: everything else continues.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ssm_proxyd::config::{self, Config};
use ssm_proxyd::daemon::{
    Cause, Client, Daemon, DaemonEnvironment, ReloadError, Request, Response, Signals,
};
use ssm_proxyd::forward::ActivatedSockets;
use ssm_proxyd::session::{Identity, TerminatePolicy};
use ssm_proxyd::sim::{Options, Simulator};
use tokio::task::JoinSet;

use crate::support::daemon_process::{caller, forward};
use crate::support::in_process::until;
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_answers_and_stops_while_its_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let (began, begun) = channel();
    let (go_on, proceed) = channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(daemon(socket.clone(), Disk::new(began, proceed)));
    until("the daemon listens", || socket.exists()).await;

    let mut first = JoinSet::new();
    first.spawn(answer_to(socket.clone(), Request::Reload));
    begun.recv_timeout(TIMEOUT).unwrap();
    let status = answer_to(socket.clone(), Request::Status).await;
    assert!(matches!(status, Response::Status(_)), "{status:?}");
    go_on.send(()).unwrap();
    let answer = first.join_next().await.unwrap().unwrap();
    assert!(matches!(answer, Response::Reloaded(_)), "{answer:?}");

    let mut second = JoinSet::new();
    second.spawn(answer_to(socket.clone(), Request::Reload));
    begun.recv_timeout(TIMEOUT).unwrap();
    let mut third = JoinSet::new();
    third.spawn(answer_to(socket.clone(), Request::Reload));
    answer_to(socket.clone(), Request::Status).await;
    go_on.send(()).unwrap();
    second.join_next().await.unwrap().unwrap();
    begun.recv_timeout(TIMEOUT).unwrap();
    let stopped = answer_to(socket.clone(), Request::Stop { now: false }).await;
    assert!(matches!(stopped, Response::Stopped { .. }), "{stopped:?}");
    let answer = third.join_next().await.unwrap().unwrap();
    assert!(matches!(answer, Response::Error(_)), "{answer:?}");
    tasks.join_next().await.unwrap().unwrap();
    drop(go_on);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_read_once_at_the_start() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("config.toml");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut command = caller(&simulator);
    let mut daemon = Process::start(command.args(["run", "--config"]).arg(&pipe));
    std::fs::write(&pipe, text()).unwrap();
    daemon.stderr.wait_for("listening");

    daemon.signal("HUP");
    daemon.stderr.wait_for("is not a regular file");

    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_blocks_delays_neither_status_nor_shutdown() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let pipe = directory.path().join("bundle.pem");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let file = directory.path().join("config.toml");
    let with = |keys: &str| {
        let admin = format!("[admin]\nsocket = \"{}\"\n", socket.display());
        format!(
            "{admin}[aws]\nregion = \"us-east-1\"\n{keys}{}",
            forward("f", "remote = 1")
        )
    };
    std::fs::write(&file, with("")).unwrap();
    let mut command = caller(&simulator);
    let mut daemon = Process::start(command.args(["run", "--config"]).arg(&file));
    daemon.stderr.wait_for("listening");

    std::fs::write(
        &file,
        with(&format!("ca_bundle = \"{}\"\n", pipe.display())),
    )
    .unwrap();
    daemon.signal("HUP");
    let status = answer_to(&socket, Request::Status).await;
    assert!(matches!(status, Response::Status(_)), "{status:?}");

    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_answered_while_a_reload_waits_for_the_lock_of_a_socket() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let file = at("config.toml");
    let with = |forwards: &str| {
        let admin = format!("[admin]\nsocket = \"{}\"\n", at("admin.sock").display());
        std::fs::write(&file, format!("{admin}{}{forwards}", text())).unwrap();
    };
    with("");
    let mut command = caller(&simulator);
    let command = command.args(["run", "--strict", "--config"]).arg(&file);
    let mut daemon = Process::start(command);
    daemon.stderr.wait_for("listening");
    let lock = locked(&at("b.sock.lock"));

    with(&(on_socket("a", &at("a.sock")) + &on_socket("b", &at("b.sock"))));
    let mut reload = JoinSet::new();
    reload.spawn(answer_to(at("admin.sock"), Request::Reload));
    until("the first is bound", || at("a.sock").exists()).await;
    let status = answer_to(at("admin.sock"), Request::Status).await;
    drop(lock);

    assert!(matches!(status, Response::Status(_)), "{status:?}");
    let reloaded = reload.join_next().await.unwrap().unwrap();
    assert!(matches!(reloaded, Response::Reloaded(_)), "{reloaded:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_answered_while_a_retry_waits_for_the_lock_of_a_socket() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let file = at("config.toml");
    let admin = format!("[admin]\nsocket = \"{}\"\n", at("admin.sock").display());
    let forwards = on_socket("a", &at("later/a.sock")) + &on_socket("b", &at("b.sock"));
    std::fs::write(&file, format!("{admin}{}{forwards}", text())).unwrap();
    let _lock = locked(&at("b.sock.lock"));
    let mut command = caller(&simulator);
    let mut daemon = Process::start(command.args(["run", "--config"]).arg(&file));
    daemon.stderr.wait_for("ready: 3 forwards, 2 failing");

    std::fs::create_dir(at("later")).unwrap();
    until("the first is bound", || at("later/a.sock").exists()).await;
    let status = answer_to(at("admin.sock"), Request::Status).await;

    let Response::Status(report) = status else {
        panic!("{status:?}")
    };
    // The attempt is not over: nothing of it is in use yet.
    assert!(
        report
            .forwards
            .iter()
            .any(|f| &*f.name == "a" && f.failure.is_some())
    );
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[test]
fn a_signal_ends_a_start_that_waits_for_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let file = directory.path().join("config.toml");
    std::fs::write(&file, text()).unwrap();
    let mut without_configuration = ssm_proxyd();
    without_configuration.args(["run", "--config"]).arg(&pipe);
    let mut without_aws_files = ssm_proxyd();
    without_aws_files
        .env("AWS_CONFIG_FILE", &pipe)
        .args(["run", "--config"])
        .arg(&file);

    for mut command in [without_configuration, without_aws_files] {
        let mut daemon = Process::start(&mut command);
        // Opening it for writing succeeds once the process waits for data.
        let _writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();

        daemon.signal("TERM");

        assert_eq!(daemon.exit_code(), 0, "{}", daemon.stderr.all());
    }
}

/// A slow disk: it signals that it was read, and responds when told to.
#[derive(Clone)]
struct Disk {
    began: Sender<()>,
    proceed: Arc<Mutex<Receiver<()>>>,
}

impl Disk {
    fn new(began: Sender<()>, proceed: Receiver<()>) -> Self {
        let proceed = Arc::new(Mutex::new(proceed));
        Self { began, proceed }
    }

    fn read(&self) -> Result<Config, ReloadError> {
        self.began.send(()).unwrap();
        let output = self.proceed.lock().unwrap().recv();
        let output = output.map_err(|error| ReloadError::unusable(error, ""));
        output.map(|()| config::parse(&text()).unwrap())
    }
}

async fn daemon(socket: std::path::PathBuf, disk: Disk) {
    let caller = DaemonEnvironment {
        origin: "tests".to_owned(),
        identity: Identity::Chain,
        state: None,
        passed: ActivatedSockets::default(),
        admin: Some(socket),
        log: None,
        orphan_policy: TerminatePolicy::Required,
    };
    let config = config::parse(&text()).unwrap();
    let mut daemon = Daemon::start(config, caller).await.unwrap();
    let mut signals = Signals::new().unwrap();
    let cause = daemon.run(&mut signals, move || disk.read()).await;
    assert_eq!(cause, Cause::Requested);
    daemon.stop_with_signals(&mut signals).await;
}

async fn answer_to(socket: impl AsRef<Path>, request: Request) -> Response {
    let mut client = Client::connect(socket.as_ref()).await.unwrap();
    client.ask(&request).await.unwrap()
}

fn text() -> String {
    let aws = "[aws]\nregion = \"us-east-1\"\n";
    format!("{aws}{}", forward("f", "remote = 1"))
}

fn on_socket(name: &str, path: &Path) -> String {
    let listen = format!("listen = \"unix:{}\"", path.display());
    forward(name, "remote = 1").replace("listen = \"127.0.0.1:0\"", &listen)
}

/// The lock file of a socket, held as by another process.
fn locked(path: &Path) -> std::fs::File {
    let mut options = std::fs::File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let file = file.unwrap();
    file.lock().unwrap();
    file
}

/// Only a failing test waits that long.
const TIMEOUT: Duration = Duration::from_secs(60);
