//! Many reloads in sequence, while connections carry bytes.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sha2::{Digest, Sha256};
use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    File, assert_clean, assert_echo, assert_reset, caller, connect, free_address,
};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::Process;

/// A reported reload applies from the next connection on, and does not affect open connections.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_disturb_none_of_fifty_transfers() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let (kept, changed) = (free_address(), free_address());
    let ports = [echo.address().port(), free_address().port()];
    let file = File::new("");
    let write = |round: usize| {
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n\
             [limits]\nsession_start_rate = 1000\n[shutdown]\ndrain_timeout = \"0s\"\n{}{}",
            simulator.endpoint(),
            forward("kept", kept, ports[0]),
            forward("changed", changed, ports[round % 2]),
        );
        std::fs::write(file.path(), text).unwrap();
    };
    write(0);
    let mut command = caller(&simulator);
    command.args(["run", "--config"]).arg(file.path());
    let mut daemon = Process::start(&mut command);
    (0..2).for_each(|_| drop(daemon.stderr.wait_for("listening")));
    let over = Arc::new(AtomicBool::new(false));
    let transfers: Vec<_> = (0..50)
        .map(|seed| {
            let over = Arc::clone(&over);
            thread::spawn(move || transfer(kept, seed, &over))
        })
        .collect();
    until("all connections are open", || {
        simulator.ledger().open_sessions() == 50
    })
    .await;

    for round in 1..=200 {
        write(round);
        daemon.signal("HUP");
        let line = daemon.stderr.wait_for("reloaded");
        assert!(line.contains("+0 −0 ~1 =1"), "round {round}: {line}");
        match round % 2 {
            0 => assert_echo(&mut connect(changed), b"hello"),
            _ => assert_reset(connect(changed)),
        }
    }

    over.store(true, Ordering::Relaxed);
    for (seed, transfer) in transfers.into_iter().enumerate() {
        let rounds = transfer.join().unwrap_or_else(|_| panic!("seed {seed}"));
        assert!(rounds > 0, "seed {seed}");
    }
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
    assert_clean(&simulator);
}

/// Exchanges bytes that depend on each other until `over`, and asserts that they are returned.
/// Returns the number of rounds.
fn transfer(address: SocketAddr, seed: u64, over: &AtomicBool) -> usize {
    let mut client = connect(address);
    let mut state = Sha256::digest(seed.to_le_bytes());
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        let bytes = state.repeat(8);
        let mut received = vec![0; bytes.len()];
        client.write_all(&bytes).unwrap();
        client.read_exact(&mut received).unwrap();
        assert_eq!(Sha256::digest(&received), Sha256::digest(&bytes));
        state = Sha256::digest(&received);
        rounds += 1;
        thread::sleep(std::time::Duration::from_millis(20));
    }
    rounds
}

fn forward(name: &str, address: SocketAddr, port: u16) -> String {
    format!(
        "[[forward]]\nname = \"{name}\"\nlisten = \"{address}\"\ntarget = \"{TARGET}\"\n\
         remote = {port}\n"
    )
}
