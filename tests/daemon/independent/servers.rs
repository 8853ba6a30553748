//! An `[http]` or `[admin]` socket that cannot be bound does not stop the forwards.

use std::net::TcpListener;

use super::fixture::Scene;
use crate::cli::ended;
use crate::support::daemon_process::{assert_echo, assert_names, connect, free_address};

#[tokio::test(flavor = "multi_thread")]
async fn an_http_address_in_use_is_reported_and_served_when_it_is_free() {
    let mut scene = Scene::new().await;
    let taken = TcpListener::bind(scene.http).unwrap();
    let good = free_address();
    scene.write(&scene.forward("good", &good.to_string(), ""));

    scene.start();
    let line = scene.logged("cannot serve [http]");
    scene.logged("ready: 1 forward");

    let address = scene.http.to_string();
    assert_names(&line, &["ERROR", &address, "in use", "hint=", "retrying"]);
    assert_echo(&mut connect(good), b"hello");
    let failing = scene.status()["failing_servers"].clone();
    assert_eq!(failing[0]["server"], "http");
    assert_names(failing[0]["error"].as_str().unwrap(), &[&address]);

    drop(taken);
    scene.logged("serving HTTP");
    assert_eq!(scene.http("/readiness").0, 200);
    let failing = scene.status()["failing_servers"].clone();
    assert_eq!(failing.as_array().map(Vec::len), Some(0));
    let log = scene.ends();
    assert_eq!(log.matches("cannot serve").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_socket_that_cannot_be_made_is_reported_and_made_when_it_can_be() {
    let mut scene = Scene::new().await;
    std::fs::write(scene.socket(), "not a socket").unwrap();
    let good = free_address();
    scene.write(&scene.forward("good", &good.to_string(), ""));

    scene.start();
    let line = scene.logged("cannot serve [admin]");
    scene.logged("ready: 1 forward");

    assert_names(&line, &["ERROR", "not a socket", "hint=", "retrying"]);
    assert_echo(&mut connect(good), b"hello");
    let (_, metrics) = scene.http("/metrics");
    for sample in ["{server=\"http\"} 0\n", "{server=\"admin\"} 1\n"] {
        let sample = format!("ssm_proxyd_server_failing{sample}");
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }

    std::fs::remove_file(scene.socket()).unwrap();
    scene.logged("accepting commands");
    assert_eq!(scene.states(), ["good ready"]);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_daemon_needs_its_admin_socket() {
    let scene = Scene::new().await;
    std::fs::write(scene.socket(), "not a socket").unwrap();
    scene.write(&scene.forward("good", "127.0.0.1:0", ""));

    let (code, _, told) = ended(scene.command().arg("--strict"));

    assert_eq!(code, 71, "{told}");
    assert_names(&told, &["[admin]: ", "not a socket"]);
}
