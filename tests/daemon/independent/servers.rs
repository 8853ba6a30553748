//! An `[http]` or `[admin]` socket that cannot be bound does not stop the forwards.

use std::net::TcpListener;

use super::fixture::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{assert_echo, assert_names, connect, free_address};

#[tokio::test(flavor = "multi_thread")]
async fn an_http_address_in_use_is_reported_and_bound_when_it_is_free() {
    let mut fixture = Fixture::new().await;
    let taken = TcpListener::bind(fixture.http).unwrap();
    let good = free_address();
    fixture.write(&fixture.forward("good", &good.to_string(), ""));

    fixture.start();
    let line = fixture.logged("cannot serve [http]");
    fixture.logged("ready: 1 forward");

    let address = fixture.http.to_string();
    assert_names(&line, &["ERROR", &address, "in use", "hint=", "retrying"]);
    assert_echo(&mut connect(good), b"hello");
    let failing = fixture.status()["failing_servers"].clone();
    assert_eq!(failing[0]["server"], "http");
    assert_names(failing[0]["error"].as_str().unwrap(), &[&address]);

    drop(taken);
    fixture.logged("serving HTTP");
    assert_eq!(fixture.http("/readiness").0, 200);
    let failing = fixture.status()["failing_servers"].clone();
    assert_eq!(failing.as_array().map(Vec::len), Some(0));
    let log = fixture.ends();
    assert_eq!(log.matches("cannot serve").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_socket_that_cannot_be_created_is_reported_and_retried() {
    let mut fixture = Fixture::new().await;
    std::fs::write(fixture.socket(), "not a socket").unwrap();
    let good = free_address();
    fixture.write(&fixture.forward("good", &good.to_string(), ""));

    fixture.start();
    let line = fixture.logged("cannot serve [admin]");
    fixture.logged("ready: 1 forward");

    assert_names(&line, &["ERROR", "not a socket", "hint=", "retrying"]);
    assert_echo(&mut connect(good), b"hello");
    let (_, metrics) = fixture.http("/metrics");
    for sample in ["{server=\"http\"} 0\n", "{server=\"admin\"} 1\n"] {
        let sample = format!("ssm_proxyd_server_failing{sample}");
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }

    std::fs::remove_file(fixture.socket()).unwrap();
    fixture.logged("accepting commands");
    assert_eq!(fixture.states(), ["good ready"]);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_daemon_needs_its_admin_socket() {
    let fixture = Fixture::new().await;
    std::fs::write(fixture.socket(), "not a socket").unwrap();
    fixture.write(&fixture.forward("good", "127.0.0.1:0", ""));

    let (code, _, output) = ended(fixture.command().arg("--strict"));

    assert_eq!(code, 71, "{output}");
    assert_names(&output, &["[admin]: ", "not a socket"]);
}
