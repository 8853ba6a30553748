//! Reloads and stops of a daemon while its forwards carry bytes through relays.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ssm_proxyd::sim::{OneOffFault, ServerKind, Simulator};

use super::Relay;
use crate::support::daemon_process::{
    DaemonProcess, File, assert_clean, assert_echo, caller, connect, free_address,
};
use crate::support::in_process::{TARGET, destination, unpaced, until};
use crate::support::payload::pattern;
use crate::support::process::Process;

fn forward(name: &str, listen: SocketAddr, destination: SocketAddr, keys: &str) -> String {
    format!(
        "[[forward]]\nname = \"{name}\"\nlisten = \"{listen}\"\ntarget = \"{TARGET}\"\n\
         remote = {}\n{keys}\n",
        destination.port()
    )
}

/// Exchanges bytes with an echo until `over`. Returns the number of rounds.
fn transfer(address: SocketAddr, seed: u64, over: &AtomicBool) -> usize {
    let mut client = connect(address);
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        assert_echo(&mut client, &pattern(seed + 1000 * rounds, 20_000));
        rounds += 1;
        thread::sleep(Duration::from_millis(10));
    }
    usize::try_from(rounds).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_disturb_neither_unchanged_forwards_nor_connections_of_changed_ones() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relays = [Relay::local(), Relay::local()];
    let [first, second] = relays.each_ref().map(|relay| relay.address.port());
    let echo = destination(ServerKind::Echo).await;
    let (kept, changed) = (free_address(), free_address());
    let unchanged = forward("kept", kept, echo.address(), &format!("relay = {first}"));
    let variants = [
        Some(format!("relay = {first}\nstripes = 4")),
        Some(format!("relay = {first}\nstripes = 2")),
        Some(format!("relay = {second}")),
        Some(String::new()),
        None,
    ];
    let file = File::new("");
    let write = |variant: &Option<String>| {
        let other = variant.as_ref();
        let other = other.map(|keys| forward("changed", changed, echo.address(), keys));
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n\
             [limits]\nsession_start_rate = 1000\n[shutdown]\ndrain_timeout = \"0s\"\n{unchanged}{}",
            simulator.endpoint(),
            other.unwrap_or_default(),
        );
        std::fs::write(file.path(), text).unwrap();
    };
    write(&variants[0]);
    let mut command = caller(&simulator);
    command.args(["run", "--config"]).arg(file.path());
    let mut daemon = Process::start(&mut command);
    (0..2).for_each(|_| drop(daemon.stderr.wait_for("listening")));
    let over = Arc::new(AtomicBool::new(false));
    let transfers: Vec<_> = (0..10)
        .map(|seed| {
            let over = Arc::clone(&over);
            thread::spawn(move || transfer(kept, seed, &over))
        })
        .collect();

    let mut held: Vec<TcpStream> = Vec::new();
    for variant in variants.iter().cycle().skip(1).take(25) {
        if let Ok(mut client) = TcpStream::connect(changed) {
            client.set_read_timeout(Some(LONG)).unwrap();
            assert_echo(&mut client, b"before");
            held.push(client);
        }
        write(variant);
        daemon.signal("HUP");
        daemon.stderr.wait_for("reloaded");
        for client in &mut held {
            assert_echo(client, b"afterwards");
        }
        held.truncate(5);
        assert_eq!(TcpStream::connect(changed).is_ok(), variant.is_some());
    }

    over.store(true, Ordering::Relaxed);
    for (seed, transfer) in transfers.into_iter().enumerate() {
        let rounds = transfer.join().unwrap_or_else(|_| panic!("seed {seed}"));
        assert!(rounds > 0, "seed {seed}");
    }
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
    assert_clean(&simulator);
    held.iter_mut().for_each(|client| {
        assert!(client.read(&mut [0]).is_err(), "a stop is a reset");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_daemon_that_stops_continue_and_survive_the_loss_of_sessions() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let echo = destination(ServerKind::Echo).await;
    let keys = format!(
        "relay = {}\n[shutdown]\ndrain_timeout = \"60s\"",
        relay.address.port()
    );
    let any = ([127, 0, 0, 1], 0).into();
    let settings = forward("f", any, echo.address(), &keys);
    let mut daemon = DaemonProcess::start(&simulator, &settings);
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"before");

    daemon.process.signal("TERM");
    let address = daemon.address();
    let is_closed = || TcpStream::connect(address).is_err();
    until("no connection is accepted", is_closed).await;
    assert_echo(&mut client, b"while it stops");
    let started = simulator.ledger().started;
    simulator.inject(None, OneOffFault::KillAgent);
    until("the session is replaced", || {
        simulator.ledger().started > started
    })
    .await;
    assert_echo(&mut client, b"over another session");
    drop(client);

    assert_eq!(daemon.process.exit_code(), 0);
    until("no session is left", || simulator.open_sessions() == 0).await;
}

/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);
