//! The `relay` process, with a daemon's end that reaches it over plain TCP connections instead of
//! sessions.

mod agent;
mod command;
mod compressed;
mod daemon;
mod endings;
mod failures;
mod hostile;
mod http;
mod reload;
mod resets;
mod transfers;

use std::net::SocketAddr;
use std::time::Duration;

use ssm_proxyd::bundle::Options;
use ssm_proxyd::bundle::ids::BundleId;
use ssm_proxyd::bundle_driver::{self, BundleHandle, Flow, FlowRead};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::agent::Agent;
use crate::support::process::{Process, ssm_proxyd};

/// A relay process.
pub(crate) struct Relay {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Relay {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::listening("127.0.0.1:0", arguments)
    }

    pub(crate) fn listening(address: &str, arguments: &[&str]) -> Self {
        let mut command = ssm_proxyd();
        command.args(["relay", "--listen", address]).args(arguments);
        let mut process = Process::start(&mut command);
        let ready = process.stderr.wait_for("relay ready");
        let address = ready.split("address=").nth(1).unwrap();
        let address = address.split_whitespace().next().unwrap().parse().unwrap();
        Self { process, address }
    }

    /// One that connects to any port of this machine.
    pub(crate) fn local() -> Self {
        Self::start(&["--allow", "127.0.0.0/8:*"])
    }
}

/// A daemon's end, whose stripes go through an agent to a relay.
struct Daemon {
    handle: BundleHandle,
    agent: Agent,
    /// The driver, and the task that connects stripes.
    _tasks: JoinSet<()>,
}

const OPTIONS: Options = Options {
    min_stripes: 4,
    max_stripes: 4,
    keep: Duration::from_secs(30),
    ..Options::DEFAULT
};

impl Daemon {
    async fn of(relay: &Relay) -> Self {
        Self::with(relay.address, 1, OPTIONS).await
    }

    async fn with(relay: SocketAddr, id: u8, options: Options) -> Self {
        let agent = Agent::start(relay).await;
        let (handle, driver) = bundle_driver::daemon(BundleId::new([id; 16]), options);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(driver.run().await) });
        tasks.spawn(connect(handle.clone(), agent.address()));
        Self {
            handle,
            agent,
            _tasks: tasks,
        }
    }

    async fn open(&self, to: SocketAddr) -> Flow {
        let host = to.ip().to_string();
        let opened = self.handle.open(&host, to.port());
        in_time(opened).await.unwrap()
    }
}

/// Connects stripes while some are missing.
async fn connect(handle: BundleHandle, agent: SocketAddr) {
    while handle.wait_for_demand(0).await.is_some() {
        if let Ok(stream) = TcpStream::connect(agent).await {
            handle.connect_stripe(stream);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A listener for one destination.
async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An open flow and the connection of its destination.
async fn connected(daemon: &Daemon) -> (Flow, TcpStream) {
    let (listener, address) = listener().await;
    let (flow, accepted) = tokio::join!(daemon.open(address), in_time(listener.accept()));
    (flow, accepted.unwrap().0)
}

/// Reads a flow to its end; `None` if it is reset.
async fn read_all(flow: &Flow) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match in_time(flow.read(64 * 1024)).await {
            FlowRead::Data(bytes) => all.extend_from_slice(&bytes),
            FlowRead::End => return Some(all),
            FlowRead::Reset => return None,
        }
    }
}

/// Longer than anything takes on a busy machine.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    timeout(limit, future).await.expect("it takes too long")
}
