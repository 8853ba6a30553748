//! The world of a life: the simulator, the destination, the configuration file, and the daemon.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::destination::{Truth, serve};
use super::process::Process;
use super::script::{ClientSpec, FORWARDS};
use crate::session::virtual_provider;
use crate::sim::agent::{self, Version};
use crate::sim::{Faults, Options, Simulator};
use crate::virtual_net::{self, Address, Reach, Route};

/// Everything around the daemon, and the daemon.
#[derive(Debug)]
pub(super) struct World {
    pub(super) simulator: Arc<Simulator>,
    pub(super) truth: Arc<Truth>,
    pub(super) daemon: Option<Process>,
    pub(super) has_old_agent: bool,
    /// The variant of the configuration.
    variant: u8,
    /// A variant that disables the last forward was read, and perhaps no other one since.
    may_be_disabled: bool,
    directory: TempDir,
    _destination: JoinSet<()>,
}

impl World {
    /// Creates the world, and starts the daemon.
    pub(super) async fn new(seed: u64) -> Self {
        let version = AGENTS[(seed / 5 % 8) as usize];
        let agent = agent::Options {
            version: Version::parse(version),
            ..agent::Options::default()
        };
        let options = Options {
            seed,
            agent,
            listen: AWS,
            require_signature: true,
            faults: Faults {
                idle_timeout: Some(IDLE_TIMEOUT),
                ..Faults::default()
            },
            ..Options::default()
        };
        let simulator = Simulator::start(options)
            .await
            .expect("the address is free");
        // Most networks of tests are fast; those of users are not.
        Self::aws().set_latency(Duration::from_millis(
            [0, 0, 0, 20, 120][(seed % 5) as usize],
        ));
        let truth = Arc::<Truth>::default();
        let mut destination = JoinSet::new();
        let listener = virtual_net::bind(Address::Tcp(DESTINATION)).expect("the address is free");
        destination.spawn(serve(listener, Arc::clone(&truth)));
        virtual_provider::reset();
        let mut world = Self {
            simulator: Arc::new(simulator),
            truth,
            daemon: None,
            has_old_agent: version != RECENT,
            variant: 0,
            may_be_disabled: false,
            directory: tempfile::tempdir().expect("a directory can be created"),
            _destination: destination,
        };
        world.start_daemon();
        world
    }

    /// Starts the daemon, with a valid configuration.
    pub(super) fn start_daemon(&mut self) {
        self.configure(0);
        self.may_be_disabled = false;
        self.daemon = Some(Process::start(&self.config(), &self.state()));
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    /// Returns the directory of the journal.
    pub(super) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Writes a variant of the configuration.
    pub(super) fn configure(&mut self, variant: u8) {
        self.variant = variant;
        self.may_be_disabled |= variant == DISABLING;
        self.write(&configuration(variant));
    }

    /// Returns true if a new client is served as long as it stays, without any fault.
    pub(super) fn keeps(&self, client: &ClientSpec) -> bool {
        let has_keep_alive = match client.forward {
            0 => self.variant == 1,
            2 => self.variant != 3,
            3 => self.variant != 4,
            _ => false,
        };
        let is_expiring = client.idle_time() > IDLE_TIMEOUT / 2 && !has_keep_alive;
        let is_disabled = self.may_be_disabled && client.forward + 1 == FORWARDS;
        !is_expiring && !is_disabled
    }

    /// Writes an invalid configuration.
    pub(super) fn break_configuration(&self) {
        self.write("[[forward]]\nname = 1\n");
    }

    fn write(&self, text: &str) {
        fs::write(self.config(), text).expect("the directory is writable");
    }

    /// Returns the active sessions of the journal.
    pub(super) fn journal(&self) -> BTreeSet<String> {
        let files = fs::read_dir(self.state()).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        let lines: Vec<_> = texts.flat_map(lines).collect();
        let of = |key: &'static str| lines.iter().filter_map(move |line| line[key].as_str());
        let ended: BTreeSet<_> = of("ended").map(str::to_owned).collect();
        let started = lines.iter().map(|line| &line["started"]["session"]);
        let started = started.filter_map(|id| id.as_str()).map(str::to_owned);
        started.filter(|id| !ended.contains(id)).collect()
    }

    /// Returns the route to AWS.
    pub(super) fn aws() -> Arc<Route> {
        virtual_net::route(&Address::Tcp(AWS))
    }

    /// Returns the route from the agent to the destination.
    pub(super) fn destination() -> Arc<Route> {
        virtual_net::route(&Address::Tcp(DESTINATION))
    }

    /// Ends everything that was broken.
    pub(super) fn heal(&self) {
        Self::aws().set_reach(Reach::Open);
        Self::destination().set_reach(Reach::Open);
        self.forget_pending();
        self.simulator.set_offline(TARGET, false);
        virtual_provider::reset();
        crate::blocking::virtual_disk::set(crate::blocking::virtual_disk::Disk::Good);
    }

    /// Ends the faults that have hit nothing.
    pub(super) fn forget_pending(&self) {
        let faults = self.simulator.options().faults.clone();
        self.simulator.set_faults(faults);
        crate::panics::disarm_here();
    }
}

fn lines(text: String) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.filter_map(Result::ok).collect()
}

/// Returns the address of a forward.
pub(super) fn address(forward: u8) -> Address {
    match forward {
        3 => Address::Unix(PathBuf::from(UNIX)),
        other => Address::Tcp(SocketAddr::new(
            Ipv4Addr::LOCALHOST.into(),
            FIRST_PORT + u16::from(other),
        )),
    }
}

fn configuration(variant: u8) -> String {
    let mut text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"http://{AWS}\"\n\
         [limits]\nmax_connections = {MAX_CONNECTIONS}\n\
         [shutdown]\ndrain_timeout = \"10s\"\n\
         [http]\nlisten = \"{HTTP}\"\n\
         [admin]\nsocket = \"{ADMIN}\"\n\
         [defaults]\nconnect_timeout = \"{}s\"\nresume_timeout = \"{}s\"\n",
        CONNECT_TIMEOUT.as_secs(),
        RESUME_TIMEOUT.as_secs(),
    );
    for forward in 0..FORWARDS {
        let listen = match address(forward) {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        let is_changed = variant == forward + 1;
        let kind = match (forward, is_changed) {
            (0, false) => "upload_window = \"2KiB\"\n",
            (0, true) => "keep_alive = true\nupload_window = \"1KiB\"\n",
            (1, false) => "warm = 1\n",
            (1, true) => "warm = 2\nwarm_max_age = \"5m\"\n",
            (2, false) => "sessions = \"shared\"\nkeep_alive = true\n",
            (2, true) => "sessions = \"shared\"\nupload_window = \"64KiB\"\n",
            (_, false) => "keep_alive = true\n",
            (_, true) => "half_close_timeout = \"10s\"\n",
        };
        let _ok = write!(
            text,
            "[[forward]]\nname = \"f{forward}\"\nlisten = \"{listen}\"\n\
             target = \"{TARGET}\"\nremote = {}\n{kind}",
            DESTINATION.port()
        );
        // In one variant, a forward is disabled: its clients are refused.
        if variant == DISABLING && forward == 3 {
            text += "enabled = false\n";
        }
    }
    text
}

pub(super) const AWS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
const DESTINATION: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5432);
pub(super) const HTTP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9187);
/// The variant of the configuration that disables the last forward.
const DISABLING: u8 = FORWARDS + 1;
/// Versions of agents. Old ones end a mux without keep-alives, and do not drain.
const AGENTS: [&str; 8] = [
    RECENT,
    RECENT,
    RECENT,
    RECENT,
    RECENT,
    "3.2.582.0",
    "3.1.1511.0",
    "3.0.700.0",
];
const RECENT: &str = "3.3.987.0";
const FIRST_PORT: u16 = 7000;
const UNIX: &str = "/run/lives.sock";
pub(super) const ADMIN: &str = "/run/lives-admin.sock";
pub(super) const TARGET: &str = "i-0123456789abcdef0";
pub(super) const MAX_CONNECTIONS: usize = 16;
/// The idle timeout of sessions. Some clients are idle for longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const RESUME_TIMEOUT: Duration = Duration::from_secs(60);
