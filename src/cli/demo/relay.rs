//! The relay of `demo --relay`: it runs beside the agent, and two forwards use it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::transfers::{SEED, SIZE, download, mebibytes};
use super::{Demo, DemoError, TARGET};
use crate::cli::stdout;
use crate::relay::{Relay, RelayOptions, Rule, Rules};
use crate::sim::{Destination, ServerKind};

/// A relay in this process, which connects to two servers.
pub(super) struct DemoRelay {
    address: SocketAddr,
    source: SocketAddr,
    large: Destination,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl DemoRelay {
    /// Starts the relay in front of `source`, and of a server with more bytes.
    pub(super) async fn start(source: SocketAddr) -> Result<Self, DemoError> {
        let (len, seed) = (LARGE, SEED);
        let large = Destination::start(ServerKind::Source { len, seed }).await?;
        let rules = [source, large.address()].map(|address| address.to_string().parse::<Rule>());
        let rules = rules.into_iter().collect::<Result<Vec<_>, _>>()?;
        let relay = Relay::bind(RelayOptions {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            http: None,
            rules: Rules::new(rules),
            max_bundles: FORWARDS.len(),
            keep: LIMIT,
            connect_timeout: LIMIT,
            drain_timeout: Duration::ZERO,
        })
        .await?;
        let address = relay.address();
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        // A sender that was dropped is a stop too.
        let stopped = async { drop(stopped.await) };
        tasks.spawn(relay.run(stopped, std::future::pending()));
        Ok(Self {
            address,
            source,
            large,
            stop,
            tasks,
        })
    }

    /// Returns the forwards of the configuration.
    pub(super) fn configuration(&self) -> String {
        let relay = self.address.port();
        let forward = |(name, stripes): &(&str, usize)| {
            let remote = self.server(*stripes).port();
            format!(
                "[[forward]]\nname = \"{name}\"\nlisten = 0\ntarget = \"{TARGET}\"\n\
                 remote = {remote}\nrelay = {relay}\nstripes = {stripes}\n"
            )
        };
        FORWARDS.iter().map(forward).collect()
    }

    /// Runs its steps.
    pub(super) async fn run(&self, demo: &Demo) -> Result<(), DemoError> {
        stdout::print_line(format_args!(
            "\n8. A relay on the target: `ssm-proxyd relay` listens on its port {}. One connection\n   \
             is carried by several sessions to it. First by one only:",
            self.address.port()
        ))?;
        let [(one, _), (many, limit)] = FORWARDS;
        let one = download(demo.address(one)?, 1, SIZE).await?;
        let size = mebibytes(LARGE);
        stdout::print_line(format_args!(
            "\n9. One connection over up to {limit} sessions: {size:.1} MiB"
        ))?;
        let all = download(demo.address(many)?, 1, LARGE).await?;
        let sessions = demo.stripes(many);
        stdout::print_line(format_args!(
            "\n   One connection got {one:.2} MiB/s over one session, and {all:.2} MiB/s over {sessions}, which were\n   \
             started one after the other while the download could use more."
        ))?;
        Ok(())
    }

    /// Prints what to look at while the demo is kept running.
    pub(super) fn print_hints(&self, demo: &Demo) -> Result<(), DemoError> {
        let [_, (name, _)] = FORWARDS;
        let address = demo.address(name)?;
        Ok(stdout::print_line(format_args!(
            "    bash -c 'cat < /dev/tcp/{}/{} > /dev/null'    # one connection over several sessions\n    {}",
            address.ip(),
            address.port(),
            demo.socket.status(name)
        ))?)
    }

    /// Stops the relay, after the daemon.
    pub(super) async fn stop(self) {
        let Self {
            stop, mut tasks, ..
        } = self;
        // It may have ended already.
        let _ended = stop.send(());
        while tasks.join_next().await.is_some() {}
    }

    /// Returns the server behind the forward with this number of stripes.
    fn server(&self, stripes: usize) -> SocketAddr {
        match stripes {
            1 => self.source,
            _ => self.large.address(),
        }
    }
}

/// The forwards with their numbers of stripes.
const FORWARDS: [(&str, usize); 2] = [("relay-1", 1), ("relay-8", 8)];

/// Bytes of the download over several sessions: enough to start all of them.
const LARGE: u64 = 24 * 1024 * 1024;

/// How long the relay waits for the daemon or a destination.
const LIMIT: Duration = Duration::from_secs(60);
