//! The maximum number of concurrent connections, and the handling of those above it.

use std::process::Command;

use ssm_proxyd::sim::{Options, ServerKind, Simulator};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::forward;
use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, assert_served, caller, connect,
};
use crate::support::in_process::{InProcess, destination};
use crate::support::process::take_environment;
use crate::support::transfer::{exchange, request};

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_a_limit_wait_for_a_permit() {
    let echo = destination(ServerKind::Echo).await;
    let one = forward("one", &echo, "");
    let tables = [
        ("", forward("one", &echo, "max_connections = 2")),
        (
            "[limits]\nmax_connections = 2\n",
            one + &forward("two", &echo, ""),
        ),
    ];
    for (limits, forwards) in tables {
        let fixture = InProcess::with(Options::default(), &format!("{limits}{forwards}")).await;
        let last = fixture.daemon.addresses().len() - 1;
        let mut first = TcpStream::connect(fixture.address()).await.unwrap();
        exchange(&mut first, b"first").await.unwrap();
        let mut second = TcpStream::connect(fixture.address_of(last)).await.unwrap();
        exchange(&mut second, b"second").await.unwrap();

        let mut waiting = JoinSet::new();
        for _ in 0..5 {
            let address = fixture.address();
            waiting.spawn(async move { request(address, b"waiting").await });
        }
        exchange(&mut first, b"first again").await.unwrap();
        exchange(&mut second, b"second again").await.unwrap();
        assert_eq!(
            fixture.simulator.ledger().started,
            2,
            "no other connection has a session"
        );
        assert!(waiting.try_join_next().is_none());
        drop(first);

        for answer in waiting.join_all().await {
            assert_eq!(answer.unwrap(), b"waiting");
        }
        exchange(&mut second, b"second to the end").await.unwrap();
        drop(second);
        let ledger = fixture.end().await;
        assert_eq!(ledger.started, 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_too_long_is_reported_with_its_limit() {
    let echo = destination(ServerKind::Echo).await;
    let keys = "connect_timeout = \"1s\"";
    let of_forward = forward("f", &echo, &format!("{keys}\nmax_connections = 1"));
    let of_all = format!(
        "[limits]\nmax_connections = 1\n{}",
        forward("f", &echo, keys)
    );
    for (tables, limit) in [
        (of_forward, "`max_connections` of this forward"),
        (of_all, "`max_connections` in [limits]"),
    ] {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let mut daemon = DaemonProcess::start(&simulator, &tables);
        let mut first = connect(daemon.address());
        assert_echo(&mut first, b"first");

        assert_reset(connect(daemon.address()));

        let line = daemon.process.stderr.wait_for("WARN");
        assert_names(&line, &["{forward=\"f\"}", limit, "connect_timeout"]);
        assert_echo(&mut first, b"still here");
        daemon.stop(&simulator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_free_descriptors_accepting_waits_and_continues() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut command = Command::new("sh");
    let inner = caller(&simulator);
    command.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]);
    command.arg(inner.get_program());
    take_environment(&mut command, &inner);
    let mut daemon =
        DaemonProcess::launch(command, &simulator.endpoint(), &forward("f", &echo, ""));
    let address = daemon.address();

    let clients: Vec<_> = (0..150).map(|_| connect(address)).collect();

    daemon.process.stderr.wait_for("cannot accept");
    drop(clients);
    assert_served(address);
    daemon.process.signal("HUP");
    daemon.process.stderr.wait_for("reloaded");
    let log = daemon.stop(&simulator);
    assert_eq!(log.matches("file descriptor limit is lower").count(), 1);
    assert_names(
        &log,
        &[
            "file descriptor limit is lower",
            "allowed=64",
            "`ulimit -n`",
        ],
    );
    assert!(!log.contains("panicked"), "{log}");
}
