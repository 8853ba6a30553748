//! `forward` and `exec` through a relay process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use sha2::{Digest, Sha256};
use ssm_proxyd::sim::{OneOffFault, Options, ServerKind, Simulator};

use super::{Fixture, forward_in_file};
use crate::cli::ended;
use crate::relay::Relay;
use crate::support::daemon_process::{assert_clean, assert_echo, assert_reset, connect};
use crate::support::in_process::{TARGET, destination, unpaced, until};
use crate::support::payload::{assert_whole, pattern};
use crate::support::process::Process;

/// A `forward` to a port of the target, through a relay. Returns its address.
fn forward(
    simulator: &Simulator,
    fixture: &Fixture,
    relay: u16,
    destination: u16,
) -> (Process, SocketAddr) {
    let local = format!("127.0.0.1:0:localhost:{destination}");
    let relay = relay.to_string();
    let arguments = ["forward", TARGET, "-L", &local, "--relay", &relay];
    let mut process = Process::start(&mut fixture.command(simulator, &arguments));
    let line = process.stdout.wait_for(" -> ");
    let address = line.split(" -> ").next().unwrap().parse().unwrap();
    (process, address)
}

/// A destination that sends this to each connection.
fn sending(data: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            // A client may leave.
            drop(connection.unwrap().write_all(&data));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_carries_exact_bytes_while_sessions_are_lost() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let data = pattern(1, 12 << 20);
    let port = sending(data.clone());
    let fixture = Fixture::new();
    let (mut process, address) = forward(&simulator, &fixture, relay.address.port(), port);
    let mut client = connect(address);
    let mut received = vec![0; 1 << 20];
    client.read_exact(&mut received).unwrap();
    let reading = thread::spawn(move || {
        client.read_to_end(&mut received).unwrap();
        received
    });

    for count in 1..3 {
        until("there is a session", || simulator.open_sessions() > 0).await;
        simulator.inject(None, OneOffFault::KillAgent);
        let is_replaced = || simulator.ledger().started > count || reading.is_finished();
        until("a lost session is replaced", is_replaced).await;
    }

    assert_whole(&reading.join().unwrap(), &data);
    process.signal("INT");
    assert_eq!(process.exit_code(), 0, "{}", process.stderr.all());
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_of_a_forward_ends_all_of_its_sessions() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let relay = Relay::local();
    let port = sending(pattern(7, 64 << 20));
    let fixture = Fixture::new();
    let (mut process, address) = forward(&simulator, &fixture, relay.address.port(), port);
    let client = connect(address);
    let mut reader = client.try_clone().unwrap();
    let reading = thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    until("there are several sessions", || {
        simulator.open_sessions() > 1
    })
    .await;

    process.signal("INT");
    process.signal("INT");

    reading.join().unwrap().unwrap_err();
    assert_eq!(process.exit_code(), 0, "{}", process.stderr.all());
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relay_denies_is_a_reset_and_the_reason_is_printed() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::start(&["--allow", "127.0.0.1:1"]);
    let fixture = Fixture::new();
    let (mut process, address) = forward(&simulator, &fixture, relay.address.port(), 5432);

    assert_reset(connect(address));

    let line = process.stderr.wait_for("DestinationForbidden");
    assert!(line.contains("--allow"), "{line}");
    process.signal("INT");
    assert_eq!(process.exit_code(), 0);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_uses_the_relay_of_the_flags_and_of_the_file() {
    const CLIENT: &str = "import socket, sys, hashlib\n\
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)\n\
        h = hashlib.sha256()\n\
        while data := s.recv(65536): h.update(data)\n\
        print(h.hexdigest())\n";
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let data = pattern(2, 2 << 20);
    let hash = Sha256::digest(&data);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let port = sending(data);
    let fixture = Fixture::new();
    let relay = relay.address.port().to_string();
    let keys = format!("relay = {relay}\nstripes = 2\n");
    fixture.configure(&(forward_in_file("plain", port) + &relayed("relayed", port, &keys)));
    let local = format!("0:localhost:{port}");
    for head in [
        &["exec", "plain", "--relay", &relay][..],
        &["exec", "relayed"],
        &["exec", "relayed", "--stripes", "1"],
        &["exec", "relayed", "-L", &local],
        &["exec", TARGET, "-L", &local, "--relay", &relay],
    ] {
        let command = ["--", "python3", "-c", CLIENT, "{host}", "{port}"];
        let arguments = [head, &command].concat();

        let (code, out, output) = ended(&mut fixture.command(&simulator, &arguments));

        assert_eq!(
            (code, out.trim_end()),
            (0, hash.as_str()),
            "{head:?}: {output}"
        );
    }
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_keeps_its_exit_code_and_no_session() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let fixture = Fixture::new();
    fixture.configure(&forward_in_file("echo", echo.address().port()));
    let relay = relay.address.port().to_string();
    let script = "import socket, sys\n\
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)\n\
        s.sendall(b'x'); s.recv(1); sys.exit(7)\n";
    let arguments = [
        "exec", "echo", "--relay", &relay, "--", "python3", "-c", script, "{host}", "{port}",
    ];

    let (code, _, output) = ended(&mut fixture.command(&simulator, &arguments));

    assert_eq!(code, 7, "{output}");
    assert!(simulator.ledger().started > 0);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_options_are_bad_usage() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let fixture = Fixture::new();
    fixture.configure(&forward_in_file("plain", 5432));
    for (arguments, text) in [
        (
            &["forward", TARGET, "-L", "0:db:1", "--stripes", "4"][..],
            "-L 0:db:1 has no relay",
        ),
        (
            &["forward", TARGET, "-D", "0", "--relay", "7400"],
            "-D 0 is a proxy",
        ),
        (
            &["exec", "plain", "--stripes", "4", "--", "true"],
            "the forward \"plain\" has no relay",
        ),
        (
            &[
                "forward",
                TARGET,
                "-L",
                "0",
                "--document",
                "Ours",
                "--relay",
                "7400",
            ],
            "cannot be used with",
        ),
    ] {
        let (code, _, output) = ended(&mut fixture.command(&simulator, arguments));

        assert_eq!(code, 2, "{arguments:?}: {output}");
        assert!(output.contains(text), "{arguments:?}: {output}");
    }
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_the_command_line_replaces_the_relay_of_the_defaults() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let fixture = Fixture::new();
    fixture.configure("[defaults]\nrelay = 1\n");
    let local = format!("127.0.0.1:0:localhost:{}", echo.address().port());
    let document = "AWS-StartPortForwardingSession";
    let arguments = ["forward", TARGET, "-L", &local, "--document", document];
    let mut process = Process::start(&mut fixture.command(&simulator, &arguments));
    let line = process.stdout.wait_for(" -> ");
    let address = line.split(" -> ").next().unwrap().parse().unwrap();

    assert_echo(&mut connect(address), b"without a relay");

    process.signal("INT");
    assert_eq!(process.exit_code(), 0);
    assert_clean(&simulator);
}

/// A forward of the configuration with further keys.
fn relayed(name: &str, port: u16, keys: &str) -> String {
    forward_in_file(name, port).replace("listen = 1\n", "listen = 2\n") + keys
}
