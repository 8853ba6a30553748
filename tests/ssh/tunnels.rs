//! ssh features on top of its connection: its own forwardings, and a shared connection.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use ssm_proxyd::sim::{Destination, ServerKind};

use crate::support::daemon_process::{assert_echo, connect};
use crate::support::free_address::free_address;
use crate::support::in_process::{destination, unpaced, until};
use crate::support::payload::{assert_whole, pattern};
use crate::support::process::Process;
use crate::support::sshd::{Sshd, ended, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_local_forwarding_carries_many_connections() {
    let sshd = Sshd::start(unpaced()).await;
    let echo = destination(ServerKind::Echo).await;
    let port = free_address().port();
    let rule = format!("127.0.0.1:{port}:{}", echo.address());
    let mut client = forwarding(&sshd, &["-L", &rule]).await;

    let mut connections: Vec<_> = (0..5).map(|_| connect(at(port))).collect();
    for (n, connection) in connections.iter_mut().enumerate() {
        assert_echo(connection, &pattern(n as u64, 10_000));
    }

    assert_eq!(sshd.simulator.ledger().started, 1);
    drop(connections);
    client.signal("TERM");
    client.wait();
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_forwarding_connects_back() {
    let sshd = Sshd::start(unpaced()).await;
    let echo = destination(ServerKind::Echo).await;
    let port = free_address().port();
    let rule = format!("127.0.0.1:{port}:{}", echo.address());
    let mut client = forwarding(&sshd, &["-R", &rule]).await;

    assert_echo(&mut connect(at(port)), &pattern(1, 100_000));

    client.signal("TERM");
    client.wait();
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dynamic_forwarding_is_a_proxy() {
    let sshd = Sshd::start(unpaced()).await;
    let http = Destination::start(ServerKind::Http).await.unwrap();
    let port = free_address().port();
    let mut client = forwarding(&sshd, &["-D", &format!("127.0.0.1:{port}")]).await;

    let (proxy, url) = (
        format!("127.0.0.1:{port}"),
        format!("http://{}/", http.address()),
    );
    let mut curl = sshd.command("curl");
    let direct = run(sshd.command("curl").args(["-sS", "--noproxy", "*", &url]));
    let proxied = run(curl.args(["-sS", "--noproxy", "", "--socks5-hostname", &proxy, &url]));

    assert_eq!(proxied, direct);
    client.signal("TERM");
    client.wait();
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_master_carries_other_sessions() {
    let sshd = Sshd::start(unpaced()).await;
    let socket = sshd.name("master");
    let shared = format!("-oControlPath={socket}");
    let master = [
        "-o",
        "ControlMaster=yes",
        "-o",
        "ControlPersist=yes",
        &shared,
    ];

    let first = run(&mut sshd.client("ssh", &[&master[..], &["far", "echo first"]].concat()));
    let second = run(&mut sshd.client("ssh", &[&shared, "far", "echo second"]));
    let (third, ..) = ended(&mut sshd.client("ssh", &[&shared, "far", "exit 3"]));

    assert_eq!((&first[..], &second[..], third), ("first\n", "second\n", 3));
    assert_eq!(sshd.simulator.ledger().started, 1);
    assert_eq!(sshd.simulator.open_sessions(), 1, "the master must stay");
    run(&mut sshd.client("ssh", &[&shared, "-O", "exit", "far"]));
    sshd.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_connection_ends_like_its_remote_end() {
    let sshd = Sshd::start(unpaced()).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut question = Vec::new();
        connection.read_to_end(&mut question).unwrap();
        connection.write_all(&question.repeat(2)).unwrap();
    });
    let port = free_address().port();
    let rule = format!("127.0.0.1:{port}:{destination}");
    let mut client = forwarding(&sshd, &["-L", &rule]).await;
    let question = pattern(2, 50_000);

    // Half-closed: ssh has its own frames for that, which are bytes to us.
    let mut connection = connect(at(port));
    connection.write_all(&question).unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();

    assert_whole(&answer, &question.repeat(2));
    server.join().unwrap();
    client.signal("TERM");
    client.wait();
    sshd.settle().await;
}

/// A client that forwards, and has reported that it does.
async fn forwarding(sshd: &Sshd, rule: &[&str]) -> Process {
    let wait = [
        "-o",
        "ExitOnForwardFailure=yes",
        "far",
        "echo up; sleep 600",
    ];
    let mut client = Process::start(&mut sshd.client("ssh", &[rule, &wait[..]].concat()));
    client.stdout.wait_for("up");
    until("the session is open", || {
        sshd.simulator.open_sessions() == 1
    })
    .await;
    client
}

fn at(port: u16) -> std::net::SocketAddr {
    ([127, 0, 0, 1], port).into()
}
