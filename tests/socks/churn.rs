//! Thousands of short connections to different destinations.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ssm_proxyd::sim::{Options, ServerKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{http, proxy, socks4a, socks5_name};
use crate::support::in_process::{InProcess, destination, unpaced};
use crate::support::transfer::abort;

#[tokio::test(flavor = "multi_thread")]
async fn each_of_thousands_of_connections_reaches_its_own_destination_and_no_session_is_left() {
    let seed = 0x50c6;
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let servers = [
        destination(ServerKind::Source { len: 1001, seed: 1 }).await,
        destination(ServerKind::Source { len: 1002, seed: 1 }).await,
        destination(ServerKind::Source { len: 1003, seed: 1 }).await,
    ];
    let mut options = Options {
        api_delay: Duration::from_millis(10),
        seed,
        ..unpaced()
    };
    for (n, server) in servers.iter().enumerate() {
        let name = format!("source{n}.internal");
        options
            .resolver
            .insert(&name, None, server.address())
            .unwrap();
    }
    let limits = "[limits]\nsession_start_rate = 1000\n";
    let tables = limits.to_owned() + &proxy("\"*.internal:7\"", "");
    let fixture = InProcess::with(options, &tables).await;
    let at_once = Arc::new(Semaphore::new(50));
    let mut clients = JoinSet::new();

    for _ in 0..2000 {
        let permit = Arc::clone(&at_once).acquire_owned().await.unwrap();
        let (address, mut rng) = (fixture.address(), rng.fork());
        clients.spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            let n = rng.usize(..3);
            let limit = Duration::from_millis(rng.u64(..60));
            if rng.bool() {
                // It disconnects at any moment.
                let _late = tokio::time::timeout(limit, visit(&mut client, n, &mut rng)).await;
                abort(client);
            } else {
                visit(&mut client, n, &mut rng).await;
            }
            drop(permit);
        });
    }
    clients.join_all().await;

    fixture
        .until("all sessions are ended without a stop", |ledger| {
            ledger.open_sessions() == 0
        })
        .await;
    let ledger = fixture.end().await;
    assert!(ledger.started >= 1000, "{}", ledger.started);
}

/// Opens a connection to one of the sources and reads all that it sends.
async fn visit(client: &mut TcpStream, n: usize, rng: &mut Rng) {
    let name = format!("source{n}.internal");
    let (request, length) = match rng.u8(..3) {
        0 => ([&[5, 1, 0][..], &socks5_name(&name, 7)].concat(), 12),
        1 => (socks4a(&name, 7), 8),
        _ => (http(&format!("{name}:7")), 39),
    };
    client.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.len(), length + 1001 + n, "{name}");
}
