//! The run of the soak test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use ssm_proxyd::config;
use ssm_proxyd::daemon::{Daemon, DaemonEnvironment};
use ssm_proxyd::forward::ActivatedSockets;
use ssm_proxyd::session::{Identity, TerminatePolicy};
use ssm_proxyd::sim::{Destination, ServerKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub(crate) async fn run(time: Duration) {
    let simulator = SimulatorProcess::start();
    let echo = Destination::start(ServerKind::Echo).await.unwrap();
    let daemon = simulator.daemon(&echo).await;
    let address = daemon.addresses()[0].1[0];
    connect_once(address, 0).await;
    wait_until_idle(&simulator).await;
    let before = Resources::take(&simulator).await;
    println!("before: {before:?}");
    let connections = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + time;
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        clients.spawn(open_and_close(address, seed, end, Arc::clone(&connections)));
    }
    for seed in 0..PERSISTENT {
        clients.spawn(keep_open(address, seed, end));
    }
    while Instant::now() < end {
        tokio::time::sleep(LINE.min(end - Instant::now())).await;
        let done = connections.load(Ordering::Relaxed);
        println!("{done:7} visits   {:?}", Resources::take(&simulator).await);
    }
    clients.join_all().await;
    wait_until_idle(&simulator).await;
    let after = settled(&simulator, &before).await;
    println!(
        "after:  {after:?}   {} visits",
        connections.load(Ordering::Relaxed)
    );
    assert!(after.is_within(&before), "resources were leaked");
    daemon.stop().await;
}

/// Opens connections in sequence, and closes each in another way.
async fn open_and_close(address: SocketAddr, seed: u64, end: Instant, connections: Arc<AtomicU64>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while Instant::now() < end {
        connect_once(address, rng.u64(..)).await;
        connections.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rng.u64(0..1500))).await;
    }
}

async fn connect_once(address: SocketAddr, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut client = TcpStream::connect(address).await.unwrap();
    for _ in 0..rng.u32(0..5) {
        exchange(&mut client, &mut rng).await;
    }
    match rng.u8(0..3) {
        0 => client.set_zero_linger().unwrap(),
        1 => client.shutdown().await.unwrap(),
        _ => {}
    }
}

/// Keeps one connection and uses it at intervals.
async fn keep_open(address: SocketAddr, seed: u64, end: Instant) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut client = TcpStream::connect(address).await.unwrap();
    while Instant::now() < end {
        exchange(&mut client, &mut rng).await;
        tokio::time::sleep(Duration::from_millis(rng.u64(0..3000))).await;
    }
}

/// Sends data and reads it back.
async fn exchange(client: &mut TcpStream, rng: &mut fastrand::Rng) {
    let mut data = vec![0; rng.usize(1..20_000)];
    rng.fill(&mut data);
    let mut received = vec![0; data.len()];
    let (mut from, mut to) = client.split();
    let (read, written) = tokio::join!(from.read_exact(&mut received), to.write_all(&data));
    written.unwrap();
    read.unwrap();
    assert!(received == data, "the received bytes are not the sent ones");
}

/// Waits until all connections have ended.
async fn wait_until_idle(simulator: &SimulatorProcess) {
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if simulator.open_sessions().await == 0 {
            // Connections that do not end are closed after ten seconds.
            tokio::time::sleep(Duration::from_secs(12)).await;
            return;
        }
    }
    panic!(
        "sessions are left open: {}",
        simulator.open_sessions().await
    );
}

/// The resources in use without traffic. The SDK keeps its connections to the API for a minute and
/// a half and checks for old ones as often, and there were more of them than before.
async fn settled(simulator: &SimulatorProcess, before: &Resources) -> Resources {
    for _ in 0..48 {
        let now = Resources::take(simulator).await;
        if now.is_within(before) {
            return now;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    Resources::take(simulator).await
}

/// The resources in use.
#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Resources {
    fds: usize,
    tasks: usize,
    rss_mib: u64,
    sessions: usize,
}

impl Resources {
    /// Not more than before, and no session.
    fn is_within(&self, before: &Self) -> bool {
        self.fds <= before.fds && self.tasks <= before.tasks && self.sessions == 0
    }

    async fn take(simulator: &SimulatorProcess) -> Self {
        let sessions = simulator.open_sessions().await;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            fds: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks(),
            rss_mib: pages * 4096 / (1 << 20),
            sessions,
        }
    }
}

/// The simulator in a child process.
struct SimulatorProcess {
    child: Child,
    address: String,
}

impl SimulatorProcess {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ssm-proxyd"))
            .args(["simulate", "--faults", BREAK_EVERY])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let described: Value = serde_json::from_str(&line).unwrap();
        let address = described["address"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    async fn daemon(&self, echo: &Destination) -> Daemon {
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"http://{}\"\n[limits]\nsession_start_rate = 1000\n[shutdown]\ndrain_timeout = \"0s\"\n[[forward]]\nname = \"f\"\nlisten = 0\ntarget = \"i-0123456789abcdef0\"\nremote = {}\n",
            self.address,
            echo.address().port()
        );
        let identity = Identity::Fixed {
            access_key: "AKIDSIMULATOR".to_owned(),
            secret_key: "simulated/not/a/secret".to_owned(),
        };
        let caller = DaemonEnvironment {
            origin: "soak".to_owned(),
            identity,
            state: None,
            passed: ActivatedSockets::default(),
            admin: None,
            log: None,
            orphan_policy: TerminatePolicy::Required,
        };
        Daemon::start(config::parse(&text).unwrap(), caller)
            .await
            .unwrap()
    }

    async fn open_sessions(&self) -> usize {
        let mut http = TcpStream::connect(&self.address).await.unwrap();
        let request =
            "GET /simulator/ledger HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        http.write_all(request.as_bytes()).await.unwrap();
        count(http, b"\"ended_us\":null").await
    }
}

/// Counts the occurrences of a text in a response without keeping the response: a ledger of
/// thousands of sessions would be part of the memory that is measured here.
async fn count(mut from: TcpStream, data: &[u8]) -> usize {
    let (mut found, mut seen) = (0, Vec::new());
    let mut buffer = [0; 16 * 1024];
    loop {
        let len = from.read(&mut buffer).await.unwrap();
        if len == 0 {
            return found;
        }
        seen.extend_from_slice(&buffer[..len]);
        found += seen.windows(data.len()).filter(|w| *w == data).count();
        let kept = seen.len().saturating_sub(data.len() - 1);
        seen.drain(..kept);
    }
}

impl Drop for SimulatorProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const CLIENTS: u64 = 20;
const PERSISTENT: u64 = 5;

/// The interval of the printed lines.
const LINE: Duration = Duration::from_secs(30);

/// The fault of the simulator.
const BREAK_EVERY: &str = r#"{"break_every": {"every": "4s", "manner": {"close": 1000}}}"#;
