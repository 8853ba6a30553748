//! An unread log: lines are lost, and nothing else is affected.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    File, assert_clean, assert_echo, assert_served, caller, connect, free_address,
};
use crate::support::in_process::{TARGET, destination, unpaced, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_log_blocks_nothing() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let (address, http) = (free_address(), free_address());
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n[log]\nlevel = \"trace\"\n\
         [http]\nlisten = \"{http}\"\n[shutdown]\ndrain_timeout = \"0s\"\n\
         [[forward]]\nname = \"f\"\nlisten = \"{address}\"\ntarget = \"{TARGET}\"\nremote = {}\n\
         upload_rate = 0\n",
        simulator.endpoint(),
        echo.address().port(),
    ));
    let mut command = caller(&simulator);
    command.args(["run", "--config"]).arg(file.path());
    let (mut daemon, _unread) = Unread::start(&mut command);
    until("the daemon listens", || TcpStream::connect(address).is_ok()).await;

    assert_served(address);
    let mut client = connect(address);
    assert_echo(&mut client, &vec![b'x'; 300_000]);

    assert!(get(http, "/liveness").ends_with("alive\n"));
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_were_dropped_are_counted_and_reported() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let (address, http) = (free_address(), free_address());
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n[log]\nlevel = \"trace\"\n\
         [http]\nlisten = \"{http}\"\n[shutdown]\ndrain_timeout = \"0s\"\n\
         [[forward]]\nname = \"f\"\nlisten = \"{address}\"\ntarget = \"{TARGET}\"\nremote = {}\n\
         upload_rate = 0\n",
        simulator.endpoint(),
        echo.address().port(),
    ));
    let mut command = caller(&simulator);
    command.args(["run", "--config"]).arg(file.path());
    let (mut daemon, mut unread) = Unread::start(&mut command);
    until("the daemon listens", || TcpStream::connect(address).is_ok()).await;
    let mut client = connect(address);
    let dropped = || {
        let metrics = get(http, "/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("ssm_proxyd_log_lines_dropped_total "));
        line.unwrap_or_else(|| panic!("{metrics}"))
            .parse::<u64>()
            .unwrap()
    };
    for _ in 0..500 {
        if dropped() > 0 {
            break;
        }
        assert_echo(&mut client, &vec![b'x'; 100_000]);
    }
    assert!(dropped() > 0);
    let status: serde_json::Value =
        serde_json::from_str(get(http, "/status").split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(status["log_lines_dropped"].as_u64().unwrap() > 0);

    let mut log = Vec::new();
    let mut part = vec![0; 1 << 16];
    until("the loss is reported", || {
        let len = unread.read(&mut part).unwrap();
        log.extend_from_slice(&part[..len]);
        let text = String::from_utf8_lossy(&log);
        text.contains("log lines were dropped because the reader was too slow")
    })
    .await;
    // The log is read again.
    let rest = thread::spawn(move || unread.read_to_end(&mut Vec::new()));
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(0));
    rest.join().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_carries_bytes_and_ends_with_an_unread_log() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let mut command = caller(&simulator);
    command
        .args(["-vv", "connect", TARGET, &echo.address().port().to_string()])
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let (mut connect, _unread) = Unread::start(&mut command);
    let (mut stdin, mut stdout) = (
        connect.0.stdin.take().unwrap(),
        connect.0.stdout.take().unwrap(),
    );

    let text = vec![b'x'; 50_000];
    let mut answer = vec![0; text.len()];
    stdin.write_all(&text).unwrap();
    stdout.read_exact(&mut answer).unwrap();

    assert!(answer == text);
    connect.signal("TERM");
    assert_eq!(connect.wait().code(), Some(128 + 15));
    drop(stdin);
}

#[tokio::test(flavor = "multi_thread")]
async fn forward_ends_with_an_unread_ready_line() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let address = free_address();
    let local = format!("{address}:db:1");
    let mut command = caller(&simulator);
    let (_unread, mut full) = std::io::pipe().unwrap();
    full.write_all(&[b'\n'; 65_536]).unwrap();
    command
        .args(["forward", TARGET, "-L", &local])
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
        .stdout(full);
    let (mut forward, _log) = Unread::start(&mut command);
    until("the daemon listens", || TcpStream::connect(address).is_ok()).await;

    forward.signal("TERM");

    assert_eq!(forward.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_ends_with_an_unread_terminal() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let source = destination(ServerKind::Source {
        len: 10 << 20,
        seed: 7,
    })
    .await;
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let output = rustix::fs::open(name, OFlags::WRONLY | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut command = caller(&simulator);
    command
        .args(["connect", TARGET, &source.address().port().to_string()])
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
        .stdin(Stdio::piped())
        .stdout(output);
    let (mut connect, _log) = Unread::start(&mut command);
    // Once output is pending in the terminal, more follows until it is full.
    let mut shown = [0];
    assert_eq!(rustix::io::read(&terminal, &mut shown).unwrap(), 1);

    connect.signal("TERM");

    assert_eq!(connect.wait().code(), Some(128 + 15));
    assert_clean(&simulator);
}

/// The output of a command is handled in the same way as its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_command_ends_with_an_unread_error() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    simulator.set_offline(TARGET, true);
    let mut command = caller(&simulator);
    command
        .args(["connect", TARGET])
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint());
    let (mut connect, _unread) = Unread::start(&mut command);

    assert_eq!(connect.wait().code(), Some(69));
}

/// A child whose stderr is full from the beginning. It is killed when this is dropped.
struct Unread(Child);

impl Unread {
    /// The child, and the read end of its stderr.
    fn start(command: &mut Command) -> (Self, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let full = loop {
            if let Err(error) = theirs.write(&[b'\n'; 4096]) {
                break error.kind();
            }
        };
        assert_eq!(full, ErrorKind::WouldBlock);
        theirs.set_nonblocking(false).unwrap();
        let child = command.stderr(OwnedFd::from(theirs)).spawn().unwrap();
        // The command would keep its copy of the descriptor.
        command.stderr(Stdio::null());
        (Self(child), ours)
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.0.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for a minute at most.
    fn wait(&mut self) -> ExitStatus {
        for _ in 0..6000 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("still running");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The complete response.
pub(super) fn get(http: std::net::SocketAddr, path: &str) -> String {
    let mut stream = connect(http);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
