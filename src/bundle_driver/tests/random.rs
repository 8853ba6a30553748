//! Both drivers face to face, in virtual time, over byte streams that die, stall, are cut and are
//! connected twice: each byte arrives exactly once and in order, and an end is seen only after a true
//! end. A failure prints its seed. To run it alone, or to search further (the test is compiled
//! again):
//!
//! ```text
//!   DRIVER_FROM=7 DRIVER_COUNT=1 cargo test --lib flows_over_failing_byte_streams
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::apps::{Plan, Seen, use_flow};
use super::links::{self, Conditions};
use super::*;
use crate::bundle::event::End;
use crate::bundle::record::FailureClass;
use crate::clock;
use crate::virtual_net::{self, PollLimit};

#[test]
fn flows_over_failing_byte_streams_are_exact_or_reset() {
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let from = number(option_env!("DRIVER_FROM")).unwrap_or(0);
    let count = number(option_env!("DRIVER_COUNT")).unwrap_or(300);
    let mut ends = BTreeMap::new();
    for seed in from..from + count {
        let run = std::panic::catch_unwind(|| virtual_net::run(seed, POLLS, run(seed)));
        let Ok(run) = run else {
            panic!("seed {seed}");
        };
        for end in run {
            *ends.entry(end).or_insert(0) += 1;
        }
    }
    // Each kind of end occurs.
    assert!(count < 300 || ends.len() == 5, "{ends:?}");
}

/// Returns how the flows of the daemon have ended.
async fn run(seed: u64) -> Vec<&'static str> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let options = Options {
        min_stripes: random.usize(1..4),
        max_stripes: random.usize(1..8),
        keep: KEEP,
        ..Options::DEFAULT
    };
    let (daemon, first) = daemon(ID, options.clone());
    let (relay, second) = relay(options);
    let conditions = conditions(&mut random);
    let (agent, target) = (links::listen(), links::listen());
    let mut network = JoinSet::new();
    let (near, far) = (agent.address().clone(), target.address().clone());
    network.spawn(links::connect(daemon.clone(), near, random.fork()));
    network.spawn(links::run_agent(agent, far, conditions, random.fork()));
    network.spawn(links::accept(target, relay.clone()));
    let mut drivers = JoinSet::new();
    drivers.spawn(first.run());
    drivers.spawn(second.run());

    let clients = async {
        let clients = run_clients(&daemon, random.fork()).await;
        while daemon.status().flows > 0 {
            sleep(Duration::from_millis(100)).await;
        }
        daemon.close();
        clients
    };
    let destinations = run_destinations(&relay, fastrand::Rng::with_seed(seed));
    let both = async { tokio::join!(clients, destinations) };
    let both = timeout(Duration::from_secs(1800), both).await;
    let (clients, destinations) = both.expect("every flow ends");
    let ends = timeout(Duration::from_secs(60), drivers.join_all()).await;
    let ends = ends.expect("both drivers end");
    let is_lost = ends.contains(&BundleEnd::Ended(End::Lost));
    let planned = [End::Closed, End::ClosedByPeer].map(BundleEnd::Ended);
    assert!(
        is_lost || ends.iter().all(|end| planned.contains(end)),
        "{ends:?}"
    );
    for (port, client) in &clients {
        check(client, destinations.get(port), is_lost);
    }
    clients.values().map(Client::name).collect()
}

fn conditions(random: &mut fastrand::Rng) -> Conditions {
    let now = clock::now();
    let from = now + Duration::from_millis(random.u64(0..10_000));
    let seconds = random.choice([0, 0, 2, 30, 200]);
    Conditions {
        good_from: now + Duration::from_secs(20),
        offline: (
            from,
            from + Duration::from_secs(seconds.unwrap_or_default()),
        ),
    }
}

/// How a flow ended at the daemon.
#[derive(Debug)]
enum Client {
    Opened(Seen),
    /// The relay could not connect it.
    Failed,
    /// The destination has reset it before the daemon knew that it was connected.
    Reset,
    /// The bundle has ended before.
    Lost,
}

impl Client {
    fn name(&self) -> &'static str {
        match self {
            Self::Opened(seen) => seen.name(),
            Self::Failed => "failed",
            Self::Reset => "reset by the other end",
            Self::Lost => "lost",
        }
    }
}

/// Opens flows, uses them, and returns how they ended, by port.
async fn run_clients(daemon: &BundleHandle, mut random: fastrand::Rng) -> BTreeMap<u16, Client> {
    let mut clients = JoinSet::new();
    for port in 1..=random.u16(1..8) {
        let (daemon, plan) = (daemon.clone(), Plan::random(&mut random));
        let begin = Duration::from_millis(random.u64(0..8_000) >> random.u32(0..6));
        clients.spawn(async move {
            sleep(begin).await;
            let client = match daemon.open("db", port).await {
                Ok(flow) => Client::Opened(use_flow(flow, 0, plan).await),
                Err(OpenFlowError::Failed(FailureClass::Refused, _)) => Client::Failed,
                Err(OpenFlowError::Reset) => Client::Reset,
                Err(OpenFlowError::Ended(_) | OpenFlowError::Bundle(_)) => Client::Lost,
                Err(OpenFlowError::Failed(class, text)) => panic!("{class:?} {text}"),
            };
            (port, client)
        });
    }
    clients.join_all().await.into_iter().collect()
}

/// Connects flows until the bundle has ended. Returns what their destinations have seen, by port;
/// nothing of a flow that was not connected.
async fn run_destinations(relay: &BundleHandle, mut random: fastrand::Rng) -> BTreeMap<u16, Seen> {
    let mut destinations = JoinSet::new();
    while let Some(incoming) = relay.next_open().await {
        let (port, plan) = (incoming.destination().port, Plan::random(&mut random));
        if random.u32(0..12) == 0 {
            incoming.fail(FailureClass::Refused, "no".into());
            continue;
        }
        let dialling = Duration::from_millis(random.u64(0..500));
        destinations.spawn(async move {
            sleep(dialling).await;
            (port, use_flow(incoming.connected(), 1, plan).await)
        });
    }
    destinations.join_all().await.into_iter().collect()
}

/// Checks what both ends of a flow have seen. The bundle may have been lost.
fn check(client: &Client, destination: Option<&Seen>, is_lost: bool) {
    let client = match client {
        Client::Opened(client) => client,
        Client::Failed => return assert!(destination.is_none()),
        Client::Reset => {
            let has_reset = destination.is_some_and(|destination| destination.has_reset);
            return assert!(has_reset || is_lost);
        }
        Client::Lost => return assert!(is_lost),
    };
    let destination = destination.expect("an open flow is connected");
    for (one, other) in [(client, destination), (destination, client)] {
        if one.has_read_end {
            assert!(other.has_finished, "{one:?} {other:?}");
            assert_eq!(one.read, other.plan.total);
        }
        if one.is_reset {
            assert!(other.has_reset || is_lost, "{one:?} {other:?}");
        }
    }
}

/// How long a bundle without stripes is kept.
const KEEP: Duration = Duration::from_secs(60);

/// A task of a busy bundle.
const POLLS: PollLimit = PollLimit(100_000);
