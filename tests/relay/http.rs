//! `/metrics`, `/status` and `/healthz` of a relay.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::{Daemon, Relay, connected};
use crate::support::daemon_process::free_address;

/// Sends a request and returns the response.
fn get(address: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_served_as_metrics_and_as_json() {
    let http = free_address().to_string();
    let relay = Relay::start(&["--allow", "127.0.0.1:*", "--http", &http]);
    let daemon = Daemon::of(&relay).await;
    let (_flow, _destination) = connected(&daemon).await;
    daemon.handle.open("127.0.0.2", 1).await.unwrap_err();

    let metrics = get(&http, "/metrics", &http);
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    for line in [
        "ssm_proxyd_relay_bundles 1",
        "ssm_proxyd_relay_flows_total 1",
        "ssm_proxyd_relay_denied_flows_total 1",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{metrics}");
    }
    let status = get(&http, "/status", "localhost");
    let (_, json) = status.split_once("\r\n\r\n").unwrap();
    let status: Value = serde_json::from_str(json).unwrap();
    assert_eq!(status["bundles"][0]["number"], 1);
    assert_eq!(status["totals"]["failed_flows"], 1);
    assert!(get(&http, "/healthz", &http).ends_with("ok\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_requests_are_rejected_and_silent_clients_block_nobody() {
    let http = free_address().to_string();
    let _relay = Relay::start(&["--allow", "db:1", "--http", &http]);
    let silent: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(&http).unwrap())
        .collect();

    assert!(get(&http, "/", &http).starts_with("HTTP/1.1 404"));
    assert!(get(&http, "/status", "evil.example").starts_with("HTTP/1.1 421"));
    let mut stream = TcpStream::connect(&http).unwrap();
    write!(
        stream,
        "POST /status HTTP/1.1\r\nHost: {http}\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 405"), "{response}");
    drop(silent);
}
