//! Hostile clients: their cost for the daemon is bounded, and other clients are served.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use socket2::SockRef;
use ssm_proxyd::sim::{Destination, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    File, assert_clean, assert_echo, assert_served, caller, connect, forward, free_address,
};
use crate::support::in_process::{destination, until};
use crate::support::process::{Process, behind};

/// Two forwards, of which the first is attacked.
struct Fixture {
    simulator: Simulator,
    _echo: Destination,
    file: File,
    daemon: Process,
    attacked: SocketAddr,
    other: SocketAddr,
    http: SocketAddr,
}

impl Fixture {
    async fn new(change: impl FnOnce(&Path) -> Option<std::process::Command>) -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let echo = destination(ServerKind::Echo).await;
        let (attacked, other, http) = (free_address(), free_address(), free_address());
        let file = File::new("");
        let keys = format!(
            "remote = {}\nconnect_timeout = \"10m\"\n",
            echo.address().port()
        );
        let at = |name, address: SocketAddr| {
            forward(name, &keys).replace("127.0.0.1:0", &address.to_string())
        };
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n[limits]\nsession_start_rate = 1000\n\
             [shutdown]\ndrain_timeout = \"0s\"\n[http]\nlisten = \"{http}\"\n[admin]\nsocket = {:?}\n{}{}",
            simulator.endpoint(),
            file.directory().join("admin.sock").display().to_string(),
            at("attacked", attacked),
            at("other", other),
        );
        std::fs::write(file.path(), text).unwrap();
        let mut command = change(&file.path()).unwrap_or_else(|| caller(&simulator));
        let credentials = &simulator.options().credentials;
        command
            .env("AWS_ACCESS_KEY_ID", &credentials.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key)
            .args(["run", "--config"])
            .arg(file.path());
        let mut daemon = Process::start(&mut command);
        daemon.stderr.wait_for("listening");
        daemon.stderr.wait_for("listening");
        Self {
            simulator,
            _echo: echo,
            file,
            daemon,
            attacked,
            other,
            http,
        }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.file.directory().join("admin.sock")
    }

    /// Sends a request over the admin socket.
    fn status(&self) -> Value {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(b"{\"command\":\"status\"}\n").unwrap();
        let line = BufReader::new(stream).lines().next().unwrap().unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        answer["status"].clone()
    }

    fn pid(&self) -> u64 {
        self.status()["pid"].as_u64().unwrap()
    }

    /// Asserts that all other clients are served.
    fn assert_others_are_served(&self) {
        assert_echo(&mut connect(self.other), b"hello");
        assert_eq!(super::http::get(self.http, "/liveness").status, 200);
        assert_eq!(self.status()["stopping"], false);
    }

    fn ends(mut self) -> String {
        self.daemon.signal("TERM");
        assert_eq!(self.daemon.exit_code(), 0);
        assert_clean(&self.simulator);
        self.daemon.stderr.all()
    }
}

/// Resident memory of a process, in bytes.
fn memory(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

/// CPU time that a process has used, in hundredths of a second.
fn processor_time(pid: u64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Raises the file descriptor limit of this process for the attack. False if that is not permitted.
fn may_open(descriptors: u64) -> bool {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= descriptors) {
        return true;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).is_ok() && maximum.is_none_or(|most| most >= descriptors)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_hostile_clients_is_bounded_and_others_are_served() {
    if !may_open(8000) {
        return eprintln!("SKIPPED: too few file descriptors for an attack");
    }
    let mut fixture = Fixture::new(|_| None).await;
    fixture.assert_others_are_served();
    let pid = fixture.pid();
    let before = memory(pid);
    let mut held: Vec<TcpStream> = Vec::new();
    let mut locals: Vec<UnixStream> = Vec::new();

    // Clients that send nothing, end one direction, never read, or reset; more than are ever
    // accepted.
    for n in 0..1800 {
        let Ok(mut client) = TcpStream::connect_timeout(&fixture.attacked, Duration::from_secs(5))
        else {
            break;
        };
        client.set_nonblocking(true).unwrap();
        match n % 4 {
            0 => {}
            1 => client.shutdown(Shutdown::Write).unwrap(),
            // Data that a client has sent is delivered, even after it has disconnected: a limited
            // number.
            2 if n < 100 => {
                let _sent = client.write(&[7; 65_536]);
            }
            2 => {}
            _ => {
                SockRef::from(&client)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                continue;
            }
        }
        held.push(client);
    }
    for n in 0..1000 {
        let mut client = connect(fixture.http);
        if n % 2 == 0 {
            let _sent = client.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nGET /me");
        }
        held.push(client);
        let mut client = UnixStream::connect(fixture.socket()).unwrap();
        if n % 2 == 0 {
            let _sent = client.write(b"{\"command\":");
        }
        locals.push(client);
    }

    fixture.assert_others_are_served();
    // Single bytes to every connection that is still open.
    for _ in 0..20 {
        for client in held
            .iter_mut()
            .filter(|client| client.peer_addr().is_ok_and(|to| to != fixture.attacked))
        {
            let _sent = client.write(b"x");
        }
        for client in &mut locals {
            let _sent = client.write(b"x");
        }
    }
    fixture.assert_others_are_served();
    let (busy, from) = (processor_time(pid), memory(pid));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let idle = processor_time(pid) - busy;
    let growth = memory(pid).max(from).saturating_sub(before);

    eprintln!(
        "{} + {} hostile clients: memory grew by {} KiB; {idle} of 400 hundredths of a second of CPU time used while they are idle",
        held.len(),
        locals.len(),
        growth / 1024
    );
    assert!(
        growth < 256 * 1024 * 1024,
        "the memory grew by {growth} bytes"
    );
    assert!(idle < 200, "{idle} hundredths of a second of four seconds");
    fixture.assert_others_are_served();
    drop((held, locals));
    assert_served(fixture.attacked);
    fixture.daemon.stderr.wait_for("too many connections");
    fixture.ends();
}

/// If descriptors are scarce, pending connections leave enough for those that are served.
#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_descriptors_is_reported_and_recovers() {
    // Fewer than the forwards may need: their connections, and 50 more.
    let mut fixture = Fixture::new(|_| {
        let script = ["-c", "ulimit -n 100 && exec \"$0\" \"$@\""];
        Some(behind("sh", &script))
    })
    .await;
    fixture.assert_others_are_served();

    let attackers: Vec<_> = (0..150).map(|_| connect(fixture.attacked)).collect();
    let line = fixture
        .daemon
        .stderr
        .wait_for_any(&["cannot accept", "no session; connection reset"]);
    assert!(line.contains("LimitNOFILE"), "{line}");
    assert!(!line.contains("check the"), "{line}");

    drop(attackers);
    assert_served(fixture.attacked);
    fixture.assert_others_are_served();
    let log = fixture.ends();
    for line in log
        .lines()
        .filter(|line| line.contains("Too many open files"))
    {
        assert!(line.contains("LimitNOFILE"), "{line}");
    }
}

/// A send to a full socket blocks. A service manager that asks for notifications and does not read
/// them must not stop the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_that_does_not_read_blocks_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify.sock");
    let _manager = UnixDatagram::bind(&path).unwrap();
    let fixture = Fixture::new(|_| {
        let mut command = crate::support::process::ssm_proxyd();
        // A watchdog interval of 20 ms: two hundred messages a second.
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "20000");
        Some(command)
    })
    .await;

    until("the daemon has run for a while", || {
        let answer = super::http::get(fixture.http, "/status");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let status: Value = serde_json::from_str(&answer.body).unwrap();
        status["uptime_seconds"].as_u64().unwrap() >= 5
    })
    .await;

    fixture.assert_others_are_served();
    fixture.ends();
}
