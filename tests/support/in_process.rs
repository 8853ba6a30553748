//! The simulator and the daemon in one process, over real sockets, with the real SDK.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ssm_proxyd::config;
use ssm_proxyd::daemon::{Daemon, DaemonEnvironment};
use ssm_proxyd::forward::ActivatedSockets;
use ssm_proxyd::session::{Identity, TerminatePolicy};
use ssm_proxyd::sim::{
    BreakEvery, Destination, DisconnectKind, Faults, Options, ServerKind, Simulator, Snapshot,
};

/// The target of every forward.
pub(crate) const TARGET: &str = "i-0123456789abcdef0";

/// A simulator, and a daemon whose forwards use it.
pub(crate) struct InProcess {
    pub(crate) simulator: Simulator,
    pub(crate) daemon: Daemon,
}

impl InProcess {
    /// A daemon with one forward, `f`; `keys` are added to name, listen and target.
    pub(crate) async fn new(options: Options, keys: &str) -> Self {
        Self::listening(options, "0", keys).await
    }

    /// The same, listening on `listen` as written in a file.
    pub(crate) async fn listening(options: Options, listen: &str, keys: &str) -> Self {
        let forward = format!(
            "[[forward]]\nname = \"f\"\nlisten = {listen}\ntarget = \"{TARGET}\"\n{keys}\n"
        );
        Self::with(options, &forward).await
    }

    /// A daemon with these tables after `[aws]`.
    pub(crate) async fn with(options: Options, tables: &str) -> Self {
        let simulator = Simulator::start(options).await.unwrap();
        let daemon = daemon(&simulator, None, tables).await;
        Self { simulator, daemon }
    }

    /// A daemon with one forward to a port of the target, on which `destination` listens.
    pub(crate) async fn to(options: Options, destination: &Destination) -> Self {
        Self::new(
            options,
            &format!("remote = {}", destination.address().port()),
        )
        .await
    }

    /// The address of the first forward.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of(0)
    }

    /// The address of a forward, counted from 0.
    pub(crate) fn address_of(&self, forward: usize) -> SocketAddr {
        self.daemon.addresses()[forward].1[0]
    }

    /// Stops the daemon, and asserts that no session is left open and none violated the protocol.
    pub(crate) async fn end(self) -> Snapshot {
        self.daemon.stop().await;
        let ledger = self.simulator.ledger();
        assert_eq!(ledger.open_sessions(), 0, "no session is left open");
        for session in &ledger.sessions {
            assert_eq!(session.violations, [].into(), "{session:#?}");
        }
        self.simulator.shutdown().await;
        ledger
    }

    /// Waits until `condition` returns true for the ledger.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Snapshot) -> bool) {
        until(what, || condition(&self.simulator.ledger())).await;
    }
}

/// Starts a daemon with these forwards and the credentials of the simulator.
pub(crate) async fn daemon(
    simulator: &Simulator,
    ca_bundle: Option<&Path>,
    forwards: &str,
) -> Daemon {
    let bundle = ca_bundle.map(|path| format!("ca_bundle = {:?}\n", path.display().to_string()));
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n{}{}\n{forwards}",
        simulator.endpoint(),
        bundle.unwrap_or_default(),
        without_drain(forwards)
    );
    let config = config::parse(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let credentials = &simulator.options().credentials;
    let identity = Identity::Fixed {
        access_key: credentials.access_key_id.clone(),
        secret_key: credentials.secret_access_key.clone(),
    };
    // Boxed: otherwise the types of the tests' futures are nested too deeply for the compiler.
    Box::pin(Daemon::start(
        config,
        DaemonEnvironment {
            origin: "tests".to_owned(),
            identity,
            state: None,
            passed: ActivatedSockets::default(),
            admin: None,
            log: None,
            orphan_policy: TerminatePolicy::Required,
        },
    ))
    .await
    .unwrap()
}

/// Makes a daemon with these tables stop at once, unless they have a `[shutdown]` of their own.
pub(crate) fn without_drain(tables: &str) -> &'static str {
    match tables.contains("[shutdown]") {
        true => "",
        false => "[shutdown]\ndrain_timeout = \"0s\"\n",
    }
}

/// Starts a destination of this kind.
pub(crate) async fn destination(kind: ServerKind) -> Destination {
    Destination::start(kind).await.unwrap()
}

/// Options of a simulator that does not imitate the speed of a real agent.
pub(crate) fn unpaced() -> Options {
    let mut options = Options::default();
    options.agent.pace = ssm_proxyd::sim::agent::SendRate::Unlimited;
    options
}

/// The target resolves this name to this address.
pub(crate) fn resolving(name: &str, address: SocketAddr) -> Options {
    let mut options = Options::default();
    options.resolver.insert(name, None, address).unwrap();
    options
}

/// Every websocket breaks, this number of milliseconds after it was opened.
pub(crate) fn broken_every(millis: u64, manner: DisconnectKind) -> Faults {
    let every = Duration::from_millis(millis);
    Faults {
        break_every: Some(BreakEvery { every, manner }),
        ..Faults::default()
    }
}

/// Waits for a condition, for a minute at most.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(done.is_ok(), "timeout: {what}");
}
