//! The records of many connections with random faults and reloads add up to the metrics and to the
//! ledger of the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use ssm_proxyd::sim::{
    ApiFault, DisconnectKind, EndedBy, OneOffFault, Operation, ServerKind, SessionRecord, Simulator,
};
use ssm_proxyd::telemetry::EndReason;

use super::Fixture;
use crate::daemon::http::get;
use crate::support::daemon_process::{
    assert_clean, assert_echo, assert_reset, connect, free_address,
};
use crate::support::exposition::Exposition;
use crate::support::in_process::{broken_every, destination, unpaced, until};

const CLIENTS: u64 = 20;
const EACH: u64 = 50;
/// With those of [`lose_two`].
const ALL: u64 = CLIENTS * EACH + 2;
const SEED: u64 = 7;
const CLOSED: &str = "ssm_proxyd_connections_closed_total";

#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_random_connections_add_up_to_the_metrics_and_the_ledger() {
    let echo = destination(ServerKind::Echo).await;
    let http = free_address();
    let keys = format!(
        "remote = {}\nconnect_timeout = \"5s\"\nhalf_close_timeout = \"1s\"\nresume_timeout = \"2s\"\n\
         [http]\nlisten = \"{http}\"\n",
        echo.address().port()
    );
    let mut options = unpaced();
    options.agent.crash_delay = Duration::from_millis(10);
    let mut fixture = Fixture::new(options, &keys).await;
    let address = fixture.address;
    lose_two(&fixture.simulator, address);
    let broken = broken_every(400, DisconnectKind::Reset);
    fixture.simulator.set_faults(broken);

    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| thread::spawn(move || run(address, Rng::with_seed(SEED + client))))
        .collect();
    disturb(&fixture, &clients).await;
    let received: u64 = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    let metrics = || Exposition::parse(&get(http, "/metrics").body).samples;
    until("all connections have ended", || {
        let metrics = metrics();
        let closed = metrics
            .iter()
            .filter(|(series, _)| series.starts_with(CLOSED));
        closed.map(|(_, count)| count).sum::<f64>() == ALL as f64
    })
    .await;
    let metrics = metrics();
    fixture.daemon.signal("TERM");
    assert_eq!(fixture.daemon.exit_code(), 0);
    let records = super::records(&fixture.daemon.stderr.all());

    let mut reasons = BTreeMap::<&str, u64>::new();
    for record in &records {
        *reasons
            .entry(record["reason"].as_str().unwrap())
            .or_default() += 1;
    }
    println!("seed {SEED}: {reasons:?}");
    assert_eq!(records.len() as u64, ALL, "{reasons:?}");
    assert_clean(&fixture.simulator);
    let total = |name: &str| {
        records
            .iter()
            .map(|record| number(record, name))
            .sum::<u64>()
    };
    assert!(total("received") >= received, "seed {SEED}");
    assert!(
        reasons["session_ended"] > 0 && reasons["session_not_started"] > 0,
        "{reasons:?}"
    );
    for reason in EndReason::ALL {
        let series = format!("{CLOSED}{{forward=\"f\",reason=\"{reason}\"}}");
        let records = reasons.get(reason.name()).copied().unwrap_or(0);
        assert_eq!(metrics[&series], records as f64, "{series}");
    }
    let opened = records
        .iter()
        .filter(|record| record["session"].is_string());
    let ledger = fixture.simulator.ledger();
    for (series, records) in [
        ("accepted_total", ALL),
        ("connections", 0),
        ("waiting", 0),
        ("connection_duration_seconds_count", ALL),
        ("connect_duration_seconds_count", opened.count() as u64),
        ("sent_bytes_total", total("sent")),
        ("received_bytes_total", total("received")),
    ] {
        let value = metrics[&format!("ssm_proxyd_{series}{{forward=\"f\"}}")];
        assert_eq!(value, records as f64, "{series}");
    }
    // A session that was started for a connection that has left may never reach its forward.
    let calls = "ssm_proxyd_api_calls_total{operation=\"StartSession\",outcome=\"ok\"}";
    assert_eq!(metrics[calls], ledger.sessions.len() as f64);
    let started = metrics["ssm_proxyd_sessions_started_total{forward=\"f\"}"];
    assert!(
        started <= metrics[calls] && started >= seen_sessions(&records),
        "{started}"
    );
    let reloads = metrics["ssm_proxyd_reloads_total{outcome=\"done\"}"];
    assert!(reloads > 5.0, "{reloads}");
    let mut seen = BTreeSet::new();
    for record in &records {
        let Some(id) = record["session"].as_str() else {
            assert_eq!((number(record, "sent"), number(record, "received")), (0, 0));
            continue;
        };
        assert!(
            seen.insert(id),
            "one connection on each session: {record:#}"
        );
        assert_agrees(record, ledger.session(id).unwrap());
    }
    // Every session whose agent connected to the destination had a connection.
    for session in ledger
        .sessions
        .iter()
        .filter(|session| session.traffic.dials > 0)
    {
        assert!(seen.contains(session.session_id.as_str()), "{session:#?}");
    }
}

/// Returns the number of records with a session.
fn seen_sessions(records: &[Value]) -> f64 {
    let with_session = records
        .iter()
        .filter(|record| record["session"].is_string());
    with_session.count() as f64
}

/// Makes two connections whose reasons depend on no chance.
fn lose_two(simulator: &Simulator, address: SocketAddr) {
    let mut client = connect(address);
    assert_echo(&mut client, b"hello");
    assert_eq!(simulator.inject(None, OneOffFault::KillAgent), 1);
    assert_reset(client);
    let code = "AccessDeniedException".to_owned();
    let times = Some(1);
    simulator.fail(Operation::StartSession, ApiFault { code, times });
    assert_reset(connect(address));
}

/// Asserts that a record agrees with its session.
fn assert_agrees(record: &Value, session: &SessionRecord) {
    let (sent, received) = (number(record, "sent"), number(record, "received"));
    assert!(
        session.traffic.bytes_out >= received,
        "{record:#}\n{session:#?}"
    );
    assert!(
        number(record, "resumes") <= session.resumes,
        "{record:#}\n{session:#?}"
    );
    assert_eq!(record["resolved_node"], session.target);
    match record["reason"].as_str().unwrap() {
        "client_closed" | "destination_closed" => {
            assert!(session.traffic.bytes_in >= sent, "{record:#}\n{session:#?}");
        }
        "session_ended" => {
            assert_eq!(session.ended_by, Some(EndedBy::AgentFailure), "{record:#}");
        }
        _ => {}
    }
}

fn number(record: &Value, name: &str) -> u64 {
    record[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name}: {record:#}"))
}

/// Makes connections that end in many ways. Returns the number of bytes that the clients received.
fn run(address: SocketAddr, mut rng: Rng) -> u64 {
    let mut received = 0;
    for _ in 0..EACH {
        let mut client = connect(address);
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let size = rng.usize(1..20_000);
        let data = vec![1; size];
        match rng.u8(0..5) {
            // Without a byte.
            0 => continue,
            // Before it may be ready.
            1 => {
                let _reset = client.write_all(&data);
            }
            2 => {
                let _reset = client.write_all(&data);
                let _reset = client.shutdown(Shutdown::Write);
                let mut answer = Vec::new();
                let _reset = client.read_to_end(&mut answer);
                received += answer.len() as u64;
            }
            _ => {
                for _ in 0..rng.u8(1..4) {
                    let mut answer = vec![0; size];
                    if client.write_all(&data).is_err() || client.read_exact(&mut answer).is_err() {
                        // As programs do; else most connections would meet the same pause of the
                        // circuit breaker.
                        thread::sleep(Duration::from_millis(rng.u64(200..600)));
                        break;
                    }
                    received += size as u64;
                    thread::sleep(Duration::from_millis(rng.u64(0..100)));
                }
            }
        }
    }
    received
}

/// Injects faults and changes the forward until the clients are done.
async fn disturb(fixture: &Fixture, clients: &[JoinHandle<u64>]) {
    let simulator = &fixture.simulator;
    let original = fs::read_to_string(fixture.file.path()).unwrap();
    let mut rng = Rng::with_seed(SEED);
    while !clients.iter().all(JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(rng.u64(50..300))).await;
        // Rejected calls are rare: each opens the circuit breaker, and then nothing else happens.
        match rng.u8(0..24) {
            0 => {
                let code = "InternalServerError".to_owned();
                let times = Some(rng.u32(1..4));
                simulator.fail(Operation::StartSession, ApiFault { code, times });
            }
            1 => {
                let code = "AccessDeniedException".to_owned();
                let times = Some(1);
                simulator.fail(Operation::StartSession, ApiFault { code, times });
            }
            8..12 => {
                let keys = format!("max_connections = {}\nconnect_timeout", rng.u8(20..60));
                let text = original.replace("connect_timeout", &keys);
                let other = fixture.file.directory().join("other.toml");
                fs::write(&other, text).unwrap();
                fs::rename(other, fixture.file.path()).unwrap();
                fixture.daemon.signal("HUP");
            }
            2..8 => drop(simulator.inject(None, OneOffFault::KillAgent)),
            _ => {
                let broken = OneOffFault::Break(DisconnectKind::Reset);
                simulator.inject(None, broken);
            }
        }
    }
}
