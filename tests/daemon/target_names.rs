//! Targets as text: names, tags of Auto Scaling groups, and regions.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ssm_proxyd::sim::{Nodes, OneOffFault, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, caller, connect,
};
use crate::support::in_process::{destination, until};

const OLD: &str = "i-00000001";
const NEW: &str = "i-00000002";
const GROUP: &str = "aws:autoscaling:groupName";

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_found_by_its_name_or_by_a_tag() {
    let echo = destination(ServerKind::Echo).await;
    for target in [
        "bastion".to_owned(),
        "tag:Name=bastion".to_owned(),
        format!("tag:{GROUP}=web=1"),
    ] {
        let nodes = nodes(&[(OLD, "Name", "other"), (NEW, "Name", "bastion")]);
        let simulator = simulator(nodes).await;
        let mut nodes = simulator.options().nodes.clone();
        let group = (GROUP.to_owned(), "web=1".to_owned());
        nodes.get_mut(NEW).unwrap().extend([group]);
        simulator.set_nodes(nodes);
        let daemon = start(&simulator, &format!("{target:?}"), echo.address().port());

        assert_echo(&mut connect(daemon.address()), b"hello");

        assert_eq!(targets(&simulator), [NEW], "{target}");
        daemon.stop(&simulator);
    }
}

/// The simulator accepts signatures of its own region only, for calls and for websockets.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_started_resumed_and_ended_in_the_region_of_its_target() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options {
        region: "eu-north-1".to_owned(),
        require_signature: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let target = format!("\"{OLD}.eu-north-1\"");
    let daemon = start(&simulator, &target, echo.address().port());
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"hello");

    let broken = OneOffFault::Break(ssm_proxyd::sim::DisconnectKind::Reset);
    assert_eq!(simulator.inject(None, broken), 1);
    assert_echo(&mut client, b"hello again");
    drop(client);
    until("the session is terminated", || {
        simulator.ledger().sessions[0].terminate_called
    })
    .await;

    let ledger = simulator.ledger();
    assert_eq!(ledger.sessions[0].target, OLD);
    assert_eq!(ledger.sessions[0].resumes, 1);
    assert_eq!(ledger.outcomes.keys().collect::<Vec<_>>(), ["ok"]);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_target_of_an_array_has_its_own_region() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options {
        region: "eu-north-1".to_owned(),
        nodes: nodes(&[(NEW, "Name", "bastion")]),
        ..Options::default()
    })
    .await
    .unwrap();
    simulator.set_offline(OLD, true);
    let target = format!("[\"{OLD}.eu-north-1\", \"bastion\"]");
    let daemon = start(&simulator, &target, echo.address().port());

    assert_echo(&mut connect(daemon.address()), b"hello");

    assert_eq!(targets(&simulator), [NEW]);
    let signatures = simulator.ledger().signatures;
    // StartSession on the first; the lookup and StartSession on the second.
    let valid = signatures.get("valid").copied();
    assert_eq!(valid, Some(1), "{signatures:?}");
    assert!(signatures.values().sum::<u64>() >= 3, "{signatures:?}");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_every_node_is_offline_all_are_reported_with_their_state() {
    let nodes = nodes(&[(OLD, "Name", "bastion"), (NEW, "Name", "bastion")]);
    let simulator = simulator(nodes).await;
    simulator.set_offline(OLD, true);
    simulator.set_offline(NEW, true);
    let mut daemon = start(&simulator, "\"bastion\"", 1);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    let expected = [
        "no managed node in us-east-1 with the tags Name=bastion is online",
        "i-00000001 (ConnectionLost)",
        "i-00000002 (ConnectionLost)",
        "hint=",
    ];
    assert_names(&line, &expected);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_searched_is_reported_if_it_is_known() {
    let simulator = simulator(Nodes::new()).await;
    let mut command = caller(&simulator);
    command.env("AWS_ACCOUNT_ID", "111122223333");
    let text = forward("\"bastion\"", 1);
    let mut daemon = DaemonProcess::launch(command, &simulator.endpoint(), &text);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    let expected = "no managed node in us-east-1 has the tags Name=bastion (account 111122223333)";
    assert_names(&line, &[expected]);
    daemon.stop(&simulator);
}

/// Connections of three clients go on while the nodes of the group are replaced, again and again.
/// Only those on a node that is gone are lost, and new ones are on the nodes that exist.
#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_group_are_replaced_under_traffic() {
    let echo = destination(ServerKind::Echo).await;
    let ids = |generation: usize| [0, 1].map(|n| format!("i-{:08}", 2 * generation + n));
    let group = |generation| {
        let [one, other] = ids(generation);
        nodes(&[(&one, GROUP, "web"), (&other, GROUP, "web")])
    };
    let mut options = options(group(0));
    options.agent.crash_delay = Duration::from_millis(10);
    let simulator = Simulator::start(options).await.unwrap();
    let text = forward(&format!("\"tag:{GROUP}=web\""), echo.address().port());
    let text = format!("{text}[limits]\nsession_start_rate = 1000\n");
    let daemon = DaemonProcess::launch(caller(&simulator), &simulator.endpoint(), &text);
    let address = daemon.address();
    let traffic = Traffic::default();
    let clients: Vec<_> = (0..3).map(|_| traffic.spawn(address)).collect();
    let mut killed = 0;
    let mut removed = Vec::new();

    for generation in 1..5 {
        traffic.wait_for_more().await;
        let mut held = connect(address);
        assert_echo(&mut held, b"hello");
        simulator.set_nodes(group(generation));
        for old in ids(generation - 1) {
            simulator.set_offline(&old, true);
            killed += kill_sessions(&simulator, &old);
        }
        assert_reset(held);
        // A session that was started before, on a node that is gone, may be the first one to be used.
        until("a new connection is served", || {
            round_trips(address).is_ok()
        })
        .await;
        let count = simulator.ledger().sessions.len();
        removed.extend(ids(generation - 1).map(|old| (old, count)));
    }
    traffic.wait_for_more().await;
    traffic.0.is_over.store(true, SeqCst);
    for client in clients {
        client.join().unwrap();
    }

    let sessions = simulator.ledger().sessions;
    for (old, count) in removed {
        let later = sessions[count..].iter();
        assert_eq!(later.filter(|session| session.target == old).count(), 0);
    }
    let last = sessions.last().map(|session| session.target.clone());
    assert!(ids(4).contains(&last.unwrap()));
    let failed = traffic.0.failed.load(SeqCst);
    assert!(killed >= 4, "{killed}");
    assert!(
        failed <= killed,
        "{failed} connections were lost, {killed} sessions"
    );
    daemon.stop(&simulator);
}

/// Clients that connect, send and disconnect, again and again, until this is dropped.
#[derive(Default)]
struct Traffic(Arc<Counters>);

#[derive(Default)]
struct Counters {
    served: AtomicUsize,
    failed: AtomicUsize,
    is_over: AtomicBool,
}

impl Traffic {
    fn spawn(&self, address: SocketAddr) -> JoinHandle<()> {
        let counters = Arc::clone(&self.0);
        thread::spawn(move || {
            while !counters.is_over.load(SeqCst) {
                let outcome = match round_trips(address) {
                    Ok(()) => &counters.served,
                    Err(_) => &counters.failed,
                };
                outcome.fetch_add(1, SeqCst);
            }
        })
    }

    /// Waits until a few more connections have been served.
    async fn wait_for_more(&self) {
        let before = self.0.served.load(SeqCst);
        until("more connections are served", || {
            self.0.served.load(SeqCst) >= before + 6
        })
        .await;
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.is_over.store(true, SeqCst);
    }
}

fn round_trips(address: SocketAddr) -> io::Result<()> {
    let mut client = connect(address);
    for _ in 0..3 {
        let mut answer = [0; 5];
        client.write_all(b"hello")?;
        client.read_exact(&mut answer)?;
        assert_eq!(&answer, b"hello");
    }
    Ok(())
}

/// Ends the sessions on a node that is gone; returns their number.
fn kill_sessions(simulator: &Simulator, target: &str) -> usize {
    let sessions = simulator.ledger().sessions.into_iter();
    let open = sessions.filter(|session| session.is_open() && session.target == target);
    open.map(|session| simulator.inject(Some(&session.session_id), OneOffFault::KillAgent))
        .sum()
}

fn start(simulator: &Simulator, target: &str, port: u16) -> DaemonProcess {
    let text = forward(target, port);
    DaemonProcess::launch(caller(simulator), &simulator.endpoint(), &text)
}

fn forward(target: &str, port: u16) -> String {
    format!(
        "[[forward]]\nname = \"f\"\nlisten = \"127.0.0.1:0\"\ntarget = {target}\nremote = {port}\n"
    )
}

async fn simulator(nodes: Nodes) -> Simulator {
    Simulator::start(options(nodes)).await.unwrap()
}

fn options(nodes: Nodes) -> Options {
    Options {
        nodes,
        require_signature: true,
        ..Options::default()
    }
}

/// Ids, each with a tag.
fn nodes(nodes: &[(&str, &str, &str)]) -> Nodes {
    let node = |(id, key, value): &(&str, &str, &str)| {
        let tag = ((*key).to_owned(), (*value).to_owned());
        ((*id).to_owned(), [tag].into())
    };
    nodes.iter().map(node).collect()
}

fn targets(simulator: &Simulator) -> Vec<String> {
    let sessions = simulator.ledger().sessions;
    sessions.into_iter().map(|session| session.target).collect()
}
