//! Many connections at the same moment, and an API that answers only so fast.

use std::time::Duration;

use ssm_proxyd::sim::{Faults, Options, Role, Throttle};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::forward;
use crate::support::stage::{Stage, destination, unpaced};
use crate::support::transfer::talk;

const CONNECTIONS: usize = 200;
const RATE: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_served_in_order_and_asks_no_more_often_than_allowed() {
    let calls = burst(None).await;

    assert_eq!(calls.len(), CONNECTIONS, "each call was of use");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_when_the_service_allows_even_less() {
    let throttle = Throttle { rate: 8, burst: 8 };

    let calls = burst(Some(throttle)).await;

    let refused = calls.len() - CONNECTIONS;
    println!("{refused} calls were throttled");
    assert!(refused > 0, "the service did throttle");
    assert!(refused < CONNECTIONS / 2, "it was asked again and again");
}

/// Serves all; returns when StartSession was called, in microseconds.
async fn burst(throttle: Option<Throttle>) -> Vec<u64> {
    let echo = destination(Role::Echo).await;
    let options = Options {
        api_delay: Duration::from_millis(100),
        faults: Faults {
            throttle,
            ..Faults::default()
        },
        ..unpaced()
    };
    let limits = format!("[limits]\nsession_start_rate = {RATE}\n");
    let forward = forward(
        "f",
        &echo,
        "connect_timeout = \"60s\"\nmax_connections = 200",
    );
    let stage = Stage::with(options, &format!("{limits}{forward}")).await;
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        let mut client = TcpStream::connect(stage.address()).await.unwrap();
        clients.spawn(async move {
            talk(&mut client, b"served").await.unwrap();
            (number, client)
        });
    }

    let mut order = Vec::new();
    let mut open = Vec::new();
    while let Some(done) = clients.join_next().await {
        let (number, client) = done.unwrap();
        order.push(number);
        open.push(client);
    }

    assert_in_order(&order);
    drop(open);
    let ledger = stage.end().await;
    let mut calls = ledger.start_calls_us;
    calls.sort_unstable();
    assert_rate(&calls);
    assert_eq!(ledger.started, CONNECTIONS as u64);
    calls
}

/// Nobody is served long before or after their turn. A place is given in order; the echoes of some
/// that got theirs in the same moment, as the first ones do, may overtake each other.
fn assert_in_order(order: &[usize]) {
    let together = 4 * RATE as usize;
    for (place, number) in order.iter().enumerate() {
        let leeway = if place < together { together } else { 10 };
        let distance = place.abs_diff(*number);
        assert!(
            distance <= leeway,
            "{number} was served as number {place}: {order:?}"
        );
    }
}

/// In no stretch of time more calls than a bucket of four seconds' worth allows.
fn assert_rate(calls: &[u64]) {
    let rate = u64::from(RATE);
    for (first, start) in calls.iter().enumerate() {
        for (last, end) in calls.iter().enumerate().skip(first) {
            let allowed = 4 * rate + (end - start) * rate / 1_000_000 + 1;
            let made = (last - first + 1) as u64;
            assert!(made <= allowed, "{made} calls in {} us", end - start);
        }
    }
}
