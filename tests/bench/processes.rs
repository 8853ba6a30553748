//! Daemon and simulator as processes of their own, so that the numbers are those of the daemon.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpStream;

use crate::baseline_relay::BaselineRelay;
use crate::endpoints::{AGENT_PAYLOAD, Destination};
use crate::path_latency::free_address;

/// The daemon as a process.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Guard,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// Starts it with one forward, and with these tables in its configuration.
    pub(crate) async fn start(
        directory: &Path,
        simulator: &Simulator,
        destination: &Destination,
        tables: &str,
    ) -> Self {
        let address = free_address();
        let bundle = directory.join("authority.pem");
        let bundle = bundle.exists().then(|| format!("ca_bundle = {bundle:?}\n"));
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n{}\
             [limits]\nsession_start_rate = 1000\nmax_connections = 2000\n\
             [[forward]]\nname = \"f\"\nlisten = \"{address}\"\ntarget = \"i-0123456789abcdef0\"\n\
             remote = {}\nmax_connections = 2000\n{tables}",
            simulator.endpoint,
            bundle.unwrap_or_default(),
            destination.address.port()
        );
        let file = directory.join("config.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["run", "--config"]).arg(&file);
        if !tables.contains("[log]") {
            command.arg("-q");
        }
        // The AWS variables of the caller's environment would override the file.
        command.env_clear().env("XDG_STATE_HOME", directory);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ACCESS_KEY_ID", "AKIDSIMULATOR");
        command.env("AWS_SECRET_ACCESS_KEY", "simulated/not/a/secret");
        command.stderr(File::create(directory.join("daemon.log")).unwrap());
        let mut child = Guard(command.spawn().unwrap());
        let listening = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < listening, "the daemon does not listen");
            assert!(child.0.try_wait().unwrap().is_none(), "the daemon ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, address }
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        self.child.resident()
    }

    /// Resident memory in KiB without that of files, such as its code.
    pub(crate) fn resident_anonymous(&self) -> u64 {
        self.child.memory("RssAnon:")
    }

    /// Sets the level of its log, through `[admin] socket`.
    pub(crate) fn set_log_level(&self, socket: &Path, level: &str) {
        let mut command = Command::new(BINARY);
        command.args(["log", level, "--socket"]).arg(socket);
        let status = command.stdout(Stdio::null()).status().unwrap();
        assert!(status.success());
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.child.usage()
    }
}

/// The simulator as a process.
#[derive(Debug)]
pub(crate) struct Simulator {
    endpoint: String,
    _child: Guard,
}

impl Simulator {
    /// Starts it with these options.
    pub(crate) fn start(directory: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("simulate").args(options);
        if options.contains(&"--tls") {
            let file = directory.join("authority.pem");
            command.arg("--certificate").arg(file);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let described: Value = serde_json::from_str(&line).unwrap();
        Self {
            endpoint: described["endpoint"].as_str().unwrap().to_owned(),
            _child: Guard(child),
        }
    }
}

/// A relay (`ssm-proxyd relay`) as a process.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Guard,
    pub(crate) port: u16,
}

impl Relay {
    /// Starts one that connects to every port of this machine.
    pub(crate) fn start() -> Self {
        let mut command = Command::new(BINARY);
        command.args(["relay", "--listen", "127.0.0.1:0", "--allow", "127.0.0.1:*"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Guard(command.spawn().unwrap());
        let mut lines = BufReader::new(child.0.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("address=") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the relay ended");
        }
        let address = line.split("address=").nth(1).unwrap();
        let address: SocketAddr = address.split_whitespace().next().unwrap().parse().unwrap();
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self {
            child,
            port: address.port(),
        }
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        self.child.resident()
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.child.usage()
    }
}

/// The near end of the baseline relay as a process: this program, called with [`NEAR_END`].
#[derive(Debug)]
pub(crate) struct NearEnd {
    child: Guard,
    pub(crate) address: SocketAddr,
}

impl NearEnd {
    /// Starts it for the far end at `service`.
    pub(crate) fn start(service: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--bench").env(NEAR_END, service.to_string());
        let mut child = Guard(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        let stdout = child.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.child.usage()
    }
}

/// Serves as the near end of the far end at `service`, until this process is killed.
pub(crate) async fn run_near_end(service: SocketAddr) {
    let relay = BaselineRelay::start_near_end(service, AGENT_PAYLOAD, None).await;
    println!("{}", relay.address);
    std::future::pending::<()>().await;
}

/// What the threads of a process have used until now.
#[derive(Clone, Debug)]
pub(crate) struct Usage(BTreeMap<OsString, ThreadUsage>);

#[derive(Clone, Copy, Debug, Default)]
struct ThreadUsage {
    nanoseconds: u64,
    wakeups: u64,
}

/// What a process has used in a span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// In user and system mode.
    pub(crate) processor_time: Duration,
    /// How often a thread went to sleep, and was woken later.
    pub(crate) wakeups: u64,
}

impl Usage {
    /// What was used since `earlier`, without threads that have ended since.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let before = |thread| earlier.0.get(thread).copied().unwrap_or_default();
        let sum = |of: fn(ThreadUsage) -> u64| {
            let threads = self.0.iter();
            threads
                .map(|(thread, now)| of(*now) - of(before(thread)))
                .sum()
        };
        Used {
            processor_time: Duration::from_nanos(sum(|usage| usage.nanoseconds)),
            wakeups: sum(|usage| usage.wakeups),
        }
    }
}

/// A process that is killed with the bench.
#[derive(Debug)]
struct Guard(Child);

impl Guard {
    fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, row: &str) -> u64 {
        let status = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(status).unwrap();
        let (_, rest) = status.split_once(row).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn usage(&self) -> Usage {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let usage = threads.map(|thread| {
            let thread = thread.unwrap();
            // A thread that has just ended has used nothing.
            let read = |file| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            let time = read("schedstat").split(' ').next().and_then(number);
            let status = read("status");
            let mut switches = status.lines();
            let switches = switches.find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
            let usage = ThreadUsage {
                nanoseconds: time.unwrap_or_default(),
                wakeups: switches.and_then(number).unwrap_or_default(),
            };
            (thread.file_name(), usage)
        });
        Usage(usage.collect())
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The variable with the address of the far end, for [`run_near_end`].
pub(crate) const NEAR_END: &str = "SSM_PROXYD_BENCH_NEAR_END";

const BINARY: &str = env!("CARGO_BIN_EXE_ssm-proxyd");
