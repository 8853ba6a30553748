//! Clients of databases and ssh.

use std::process::Command;

use super::{Offline, Session};
use crate::support::postgres::{client, installed, psql};

#[tokio::test(flavor = "multi_thread")]
async fn psql_prints_cause_and_remedy() {
    let offline = Offline::new().await;
    let (orders, replica) = (offline.address("orders"), offline.address("replica"));
    let mut session = Session::default();

    session.run("psql", &mut psql(orders, &[]));
    for mode in ["disable", "require"] {
        let shown = format!("psql sslmode={mode}");
        session.run(&shown, &mut psql(orders, &[&format!("sslmode={mode}")]));
    }
    let hosts = format!(
        "host=127.0.0.1,127.0.0.1 port={},{}",
        orders.port(),
        replica.port()
    );
    session.run("psql host=ORDERS,REPLICA", &mut psql(orders, &[&hosts]));
    session.run("pg_isready", &mut client("pg_isready", orders));

    let shown = session.assert_as("psql", &[orders, replica]);
    assert!(
        shown.contains("forward replica"),
        "the second host was tried:\n{shown}"
    );
    offline.0.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_prints_cause_and_remedy() {
    let offline = Offline::new().await;
    let shop = offline.address("shop");
    let mut session = Session::default();
    let port = format!("--port={}", shop.port());
    let arguments = [
        "--no-defaults",
        "--protocol=tcp",
        "--host=127.0.0.1",
        "--user=me",
        &port,
    ];

    for (program, command) in [
        ("mariadb", &["--execute=SELECT 1"][..]),
        ("mariadb-admin", &["ping"]),
    ] {
        let path = installed(program, "mariadb-client");
        let mut client = Command::new(&path);
        let shown = format!("{program} {}", command[0]);
        session.run(&shown, client.args(arguments).args(command));
        session.replace(&path.display().to_string(), program);
    }

    session.assert_as("mariadb", &[shop]);
    offline.0.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cli_prints_cause_and_remedy() {
    let offline = Offline::new().await;
    let cache = offline.address("cache");
    let mut session = Session::default();
    let port = cache.port().to_string();

    for command in [&["PING"][..], &["-3", "GET", "key"], &["-e", "GET", "key"]] {
        let mut client = Command::new(installed("redis-cli", "redis-tools"));
        client.env_remove("REDISCLI_AUTH");
        let shown = format!("redis-cli {}", command.join(" "));
        session.run(
            &shown,
            client.args(["-h", "127.0.0.1", "-p", &port]).args(command),
        );
    }

    session.assert_as("redis-cli", &[cache]);
    offline.0.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_prints_cause_and_remedy() {
    let offline = Offline::new().await;
    let bastion = offline.address("bastion");
    let port = bastion.port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let known = directory.path().join("known");
    let ssh = |arguments: &[&str]| {
        let mut command = Command::new("ssh");
        let file = format!("UserKnownHostsFile={}", known.display());
        command.args([
            "-F",
            "none",
            "-p",
            &port,
            "-o",
            "BatchMode=yes",
            "-o",
            &file,
        ]);
        command.args(arguments).arg("me@127.0.0.1");
        command
    };
    let mut session = Session::default();

    session.run("ssh", &mut ssh(&[]));
    session.run("ssh -q", &mut ssh(&["-q"]));
    let mut verbose = Session::default();
    verbose.run("ssh -v", &mut ssh(&["-v"]));
    for line in verbose
        .0
        .lines()
        .filter(|line| line.contains("banner line"))
    {
        session.0 += &format!("ssh -v: {}\n", line.trim_end());
    }

    session.assert_as("ssh", &[bastion]);
    assert!(!known.exists(), "no host key is stored");
    offline.0.end().await;
}
