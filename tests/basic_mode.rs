//! Basic port mode: the official client and agents before 3.0.222.0, over real sockets.

use std::time::Duration;

use ssm_proxyd::sim::agent::{Race, Version};
use ssm_proxyd::sim::{EndedBy, OneOffFault, Options, ServerKind, Simulator, seeded_bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::in_process::{destination, until};
use crate::support::official_client::{BASIC_AGENT, OfficialClient};

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_reconnects_repeatedly_in_one_session() {
    let echo = destination(ServerKind::Echo).await;
    for seed in 0..20 {
        let simulator = simulator(seed).await;
        let client = OfficialClient::start(&simulator, echo.address().port()).await;

        for round in 0..3 {
            let mut local = TcpStream::connect(client.address).await.unwrap();
            for text in ["hello", "again"] {
                let answer = exchange(&mut local, text).await;
                assert_eq!(answer.as_deref(), Some(text), "seed {seed}, round {round}");
            }
        }

        let ledger = simulator.ledger();
        assert_eq!(ledger.started, 1);
        assert_eq!(ledger.sessions[0].violations, [].into(), "seed {seed}");
        client.terminate().await;
        until("the session is ended by the flag", || {
            simulator.ledger().sessions[0].ended_by == Some(EndedBy::Flag)
        })
        .await;
        simulator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_arrived_before_a_program_connected_is_sent_again() {
    let (len, seed) = (3000, 7);
    let source = destination(ServerKind::Source { len, seed }).await;
    let simulator = simulator(seed).await;
    let client = OfficialClient::start(&simulator, source.address().port()).await;
    until("the agent has sent everything", || {
        simulator.ledger().sessions[0].traffic.bytes_out == len
    })
    .await;

    let mut local = TcpStream::connect(client.address).await.unwrap();
    let expected: Vec<u8> = seeded_bytes(len, seed).flatten().collect();
    let answer = read(&mut local, expected.len()).await;

    assert_eq!(answer, Some(expected));
    client.terminate().await;
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_is_notified_of_the_end_of_its_session() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(0).await;
    let mut client = OfficialClient::start(&simulator, echo.address().port()).await;
    let mut local = TcpStream::connect(client.address).await.unwrap();
    assert_eq!(
        exchange(&mut local, "hello").await.as_deref(),
        Some("hello")
    );

    simulator.inject(None, OneOffFault::KillAgent);

    let closed = tokio::time::timeout(TIMEOUT, client.closed()).await;
    assert!(closed.unwrap().contains("document process failed"));
    simulator.shutdown().await;
}

/// A simulator with an old agent and without the races that hang the official client with real
/// agents too.
async fn simulator(seed: u64) -> Simulator {
    let mut options = Options {
        seed,
        ..Options::default()
    };
    options.agent.version = Version::parse(BASIC_AGENT);
    options.agent.handshake_race = Race::NEVER;
    options.agent.acknowledgement_race = Race::NEVER;
    options.agent.crash_delay = Duration::from_millis(10);
    Simulator::start(options).await.unwrap()
}

/// Sends `text` and returns as many bytes of the response. `None` if they do not arrive: the client
/// hangs.
async fn exchange(local: &mut TcpStream, text: &str) -> Option<String> {
    local.write_all(text.as_bytes()).await.unwrap();
    let answer = read(local, text.len()).await?;
    Some(String::from_utf8(answer).unwrap())
}

async fn read(local: &mut TcpStream, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    let read = tokio::time::timeout(TIMEOUT, local.read_exact(&mut bytes)).await;
    read.ok()?.unwrap();
    Some(bytes)
}

/// Longer than any step takes; only a failing test waits that long.
const TIMEOUT: Duration = Duration::from_secs(20);
