//! Thousands of connections that open and close at random times.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ssm_proxyd::sim::link::LinkConditions;
use ssm_proxyd::sim::{Faults, Options, ServerKind, SessionRecord, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::forward;
use crate::support::in_process::{InProcess, destination, unpaced};
use crate::support::transfer::abort;

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_left_whenever_its_client_disconnects() {
    churn(0x5e55_1045, "", 2000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_left_with_warm_sessions() {
    churn(0x3a9, "warm = 4", 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_left_with_shared_sessions() {
    let keys = "sessions = \"shared\"\nmax_streams = 8\nmax_session_age = \"1s\"";
    churn(0x7e4a, keys, 1000).await;
}

async fn churn(seed: u64, keys: &str, connections: usize) {
    println!("seed {seed}");
    let echo = destination(ServerKind::Echo).await;
    let way = LinkConditions {
        delay: Duration::from_millis(5),
        ..LinkConditions::default()
    };
    let options = Options {
        api_delay: Duration::from_millis(30),
        seed,
        faults: Faults {
            to_agent: way,
            to_client: way,
            ..Faults::default()
        },
        ..unpaced()
    };
    let limits = "[limits]\nsession_start_rate = 1000\n";
    let tables = format!("{limits}{}", forward("f", &echo, keys));
    let fixture = InProcess::with(options, &tables).await;
    let mut rng = Rng::with_seed(seed);
    let at_once = Arc::new(Semaphore::new(60));
    let mut visits = JoinSet::new();
    for _ in 0..connections {
        let permit = Arc::clone(&at_once).acquire_owned().await.unwrap();
        let (address, rng) = (fixture.address(), rng.fork());
        visits.spawn(async move {
            visit(TcpStream::connect(address).await.unwrap(), rng).await;
            drop(permit);
        });
    }
    visits.join_all().await;

    let of_clients = fixture.simulator.ledger().sessions.len();
    if keys.is_empty() {
        leave_while_sessions_come_up(&fixture).await;
        fixture
            .until("all sessions are ended without a stop", |ledger| {
                ledger.open_sessions() == 0
            })
            .await;
    }
    let ledger = fixture.end().await;
    if keys.is_empty() {
        assert_every_phase(&ledger, connections - of_clients);
    }
}

/// With many clients, a session whose client has disconnected is given to the next one. Here there
/// is no next one.
async fn leave_while_sessions_come_up(fixture: &InProcess) {
    for _ in 0..100 {
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(TcpStream::connect(fixture.address()).await.unwrap());
        }
        // It may be one that was started for an earlier connection.
        let is_starting = |ledger: &Snapshot| ledger.open_sessions() > 0;
        fixture.until("a session is starting", is_starting).await;
        clients.into_iter().for_each(abort);
        let ended = |ledger: &Snapshot| ledger.open_sessions() == 0;
        fixture.until("all sessions have ended", ended).await;
        let ledger = fixture.simulator.ledger();
        if ledger.sessions.iter().any(|s| s.traffic.dials == 0) {
            return;
        }
    }
}

/// A client that may disconnect at any moment, in any way.
async fn visit(mut client: TcpStream, mut rng: Rng) {
    let data = rng.bool().then(|| rng.usize(1..4096));
    let limit = Duration::from_millis(rng.u64(0..150));
    let (mut reader, mut writer) = client.split();
    let exchange = async {
        let Some(len) = data else {
            return std::future::pending().await;
        };
        let mut answer = vec![0; len];
        loop {
            writer.write_all(&answer).await.unwrap();
            reader.read_exact(&mut answer).await.unwrap();
        }
    };
    // It never ends by itself.
    let _late: Result<(), _> = tokio::time::timeout(limit, exchange).await;
    match limit.as_millis() % 3 {
        0 => abort(client),
        1 => drop(client.shutdown().await),
        _ => {}
    }
}

/// Asserts that clients disconnected in each phase; otherwise the test shows little. A session
/// whose client has disconnected during the start is given to the next one, or ended when it is
/// ready.
fn assert_every_phase(ledger: &Snapshot, early: usize) {
    let unused = |session: &&SessionRecord| session.traffic.dials == 0;
    let unused = ledger.sessions.iter().filter(unused).count();
    let used = ledger.sessions.len() - unused;
    println!(
        "{early} clients disconnected early, {unused} during a session start, {used} with a session"
    );
    assert!(
        early > 0 && unused > 0 && used > 0,
        "not every phase occurred"
    );
}
