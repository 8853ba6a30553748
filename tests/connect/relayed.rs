//! `connect` through a relay: a real relay process beside the agents of the simulator.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use ssm_proxyd::sim::{OneOffFault, Options, Simulator};

use crate::relay::Relay;
use crate::support::connect_process::ConnectProcess;
use crate::support::daemon_process::assert_clean;
use crate::support::free_address::free_address;
use crate::support::in_process::{TARGET, unpaced, until};
use crate::support::payload::{assert_whole, pattern};
use crate::support::transfer::abort;

/// A `connect` to a port of the target, through a relay.
fn start(simulator: &Simulator, relay: &Relay, destination: u16) -> ConnectProcess {
    with(simulator, relay.address.port(), destination, &[])
}

fn with(simulator: &Simulator, relay: u16, destination: u16, more: &[&str]) -> ConnectProcess {
    let (relay, destination) = (relay.to_string(), destination.to_string());
    let arguments = [&[TARGET, &destination, "--relay", &relay], more].concat();
    ConnectProcess::with(simulator, FAST, &arguments)
}

/// A destination that serves one connection in a thread.
fn served<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (u16, thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (
        port,
        thread::spawn(move || serve(listener.accept().unwrap().0)),
    )
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

/// The destination answers only after the end of stdin, which it sees as such.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_stdin_reaches_the_destination_and_its_answer_is_complete() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let (up, down) = (pattern(1, 3_000_000), pattern(2, 3_000_000));
    let answer = down.clone();
    let (port, server) = served(move |mut stream| {
        let all = read_all(&stream);
        stream.write_all(&answer).unwrap();
        all
    });
    let mut process = start(&simulator, &relay, port);

    process.send(&up);
    drop(process.stdin.take());
    let received = process.read_to_end();

    assert_eq!(process.end(), (0, String::new()));
    assert_whole(&received, &down);
    assert_whole(&server.join().unwrap(), &up);
    assert_clean(&simulator);
    let ledger = simulator.ledger();
    let document = &ledger.sessions[0].document;
    assert_eq!(document, "AWS-StartPortForwardingSession");
}

/// A destination that only receives may end its own direction at once.
#[tokio::test(flavor = "multi_thread")]
async fn all_of_stdin_arrives_at_a_destination_that_has_ended_its_direction() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let up = pattern(3, 3_000_000);
    let (port, server) = served(move |stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&stream)
    });
    let mut process = start(&simulator, &relay, port);

    process.send(&up);
    drop(process.stdin.take());

    assert_eq!(process.end(), (0, String::new()));
    assert_whole(&server.join().unwrap(), &up);
    assert_clean(&simulator);
}

/// As under ssh, which keeps stdin open until it has seen the end of stdout.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_destination_is_the_end_while_stdin_is_open() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let (port, _server) = served(|mut stream| stream.write_all(b"bye").unwrap());
    let mut process = start(&simulator, &relay, port);

    let received = process.read_to_end();

    assert_eq!(received, b"bye");
    assert_eq!(process.end(), (0, String::new()));
    assert_clean(&simulator);
}

/// As ssh does when its command has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_is_the_end_once_the_upload_has_arrived() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    for ends_stdin_first in [false, true] {
        let (port, server) = served(|mut stream| {
            stream.write_all(b"begin").unwrap();
            let mut all = Vec::new();
            // The end may be a reset, as the destination has not ended before.
            drop(stream.read_to_end(&mut all));
            all
        });
        let mut process = start(&simulator, &relay, port);
        process.receive(5);
        let data = pattern(6, 100_000);
        process.send(&data);
        if ends_stdin_first {
            drop(process.stdin.take());
        }
        drop(process.stdout.take());

        assert_eq!(process.end(), (0, String::new()));
        let arrived = server.join().unwrap();
        assert!(data.starts_with(&arrived), "{ends_stdin_first}");
    }
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_exact_while_sessions_are_lost() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let down = pattern(4, 12 << 20);
    let sent = down.clone();
    let (port, _server) = served(move |mut stream| stream.write_all(&sent).unwrap());
    let mut process = start(&simulator, &relay, port);
    let mut received = process.receive(1 << 20);
    let mut stdout = process.stdout.take().unwrap();
    let reading = thread::spawn(move || {
        stdout.read_to_end(&mut received).unwrap();
        received
    });

    for count in 1..3 {
        until("there is a session", || simulator.open_sessions() > 0).await;
        simulator.inject(None, OneOffFault::KillAgent);
        let is_replaced = || simulator.ledger().started > count || reading.is_finished();
        until("a lost session is replaced", is_replaced).await;
    }

    assert_whole(&reading.join().unwrap(), &down);
    assert_eq!(process.end(), (0, String::new()));
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_no_end() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut process = start(&simulator, &relay, port);
    let (mut server, _) = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut server, b"begin")
        .await
        .unwrap();
    process.receive(5);

    abort(server);

    assert_eq!(process.read_to_end(), b"");
    let (code, stderr) = process.end();
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(stderr.contains("has reset the connection"), "{stderr}");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_is_a_loss() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let mut relay = Relay::local();
    let (port, _server) = served(|mut stream| {
        stream.write_all(b"begin").unwrap();
        // Until the relay is gone.
        drop(stream.read(&mut [0]));
    });
    let address = relay.address;
    let mut process = start(&simulator, &relay, port);
    process.receive(5);

    relay.process.signal("KILL");
    relay.process.wait();
    let _successor = Relay::listening(&address.to_string(), &["--allow", "127.0.0.0/8:*"]);

    let (code, stderr) = process.end();
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(stderr.contains("no longer knows this bundle"), "{stderr}");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_of_the_relay_has_its_exit_code_and_one_line() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let closed = free_address().port();
    let relay = Relay::start(&["--allow", "127.0.0.1:1", "*.invalid:5432"]);
    let (port, relay_port) = ("5432", relay.address.port());
    for (relay, remote, texts) in [
        (
            relay_port,
            "localhost:5432",
            ["DestinationForbidden", "--allow"],
        ),
        (
            relay_port,
            "localhost:1",
            ["DestinationRefused", "localhost:1"],
        ),
        (
            relay_port,
            "db.invalid:5432",
            ["DestinationNotFound", "db.invalid"],
        ),
        (
            closed,
            port,
            ["RelayUnavailable", &format!("port {closed}")],
        ),
    ] {
        let relay = relay.to_string();
        let to = match remote.contains(':') {
            true => vec!["--remote", remote],
            false => vec![remote],
        };
        let arguments = [&[TARGET, "--relay", &relay], &to[..]].concat();

        let (code, stderr) = ConnectProcess::with(&simulator, FAST, &arguments).end();

        assert_eq!((code, stderr.lines().count()), (69, 1), "{stderr}");
        for text in texts {
            assert!(stderr.contains(text), "{text}: {stderr}");
        }
    }
    assert_clean(&simulator);
}

/// A program that takes connections, but does not speak the protocol.
#[tokio::test(flavor = "multi_thread")]
async fn another_program_on_the_port_of_the_relay_is_reported() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            connection.unwrap().write_all(b"SSH-2.0-other\r\n").unwrap();
        }
    });

    let (code, stderr) = with(&simulator, port, 22, &[]).end();

    assert_eq!((code, stderr.lines().count()), (69, 1), "{stderr}");
    let expected = format!("port {port} on the target does not belong to a relay");
    assert!(stderr.contains(&expected), "{stderr}");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_all_sessions() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let relay = Relay::local();
    let (port, server) = served(|mut stream| {
        let data = pattern(7, 1 << 20);
        // More than one session takes, so that further ones are started.
        while stream.write_all(&data).is_ok() {}
    });
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let port = match name {
            "INT" => port,
            _ => served(|stream| drop(read_all(&stream))).0,
        };
        let mut process = start(&simulator, &relay, port);
        if name == "INT" {
            let mut stdout = process.stdout.take().unwrap();
            thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()).unwrap());
            until("there are several sessions", || {
                simulator.open_sessions() > 1
            })
            .await;
        } else {
            until("there is a session", || simulator.open_sessions() > 0).await;
        }

        process.signal(name);

        let (found, stderr) = process.end();
        assert_eq!((found, stderr.as_str()), (code, ""), "{name}");
        assert_clean(&simulator);
    }
    server.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_destination_does_not_take_is_incomplete() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let (port, _server) = served(|mut stream| {
        stream.read_exact(&mut [0; 1000]).unwrap();
        // Closed with unread bytes.
    });
    let mut process = start(&simulator, &relay, port);

    let mut stdin = process.stdin.take().unwrap();
    // It may end before it has read everything.
    let sending = thread::spawn(move || drop(stdin.write_all(&pattern(5, 8 << 20))));

    let (code, stderr) = process.end();
    sending.join().unwrap();
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_of_a_forward_and_of_the_defaults_is_used() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let port = relay.address.port();
    let defaults = format!("[defaults]\nrelay = {port}\nsessions = \"shared\"\n");
    for (tables, target) in [
        (defaults.clone(), TARGET),
        (format!("{defaults}{}", forward("")), "f"),
        (forward(&format!("relay = {port}\nstripes = 2\n")), "f"),
    ] {
        let (destination, server) = served(|stream| read_all(&stream));
        let arguments = [target, &destination.to_string()];
        let mut process = ConnectProcess::with(&simulator, &tables, &arguments);

        process.send(b"through the relay");
        drop(process.stdin.take());

        assert_eq!(process.end(), (0, String::new()));
        assert_eq!(server.join().unwrap(), b"through the relay");
    }
    assert_clean(&simulator);
    // A session that leads to the destination itself has the document for ssh.
    let sessions = simulator.ledger().sessions;
    let mut documents = sessions.iter().map(|session| session.document.as_str());
    assert!(documents.all(|document| document == "AWS-StartPortForwardingSession"));
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_options_are_bad_usage() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let tables = forward("document = \"Ours\"\n");
    for (arguments, text) in [
        (&[TARGET, "--stripes", "4"][..], "has no relay"),
        (&[TARGET, "--relay", "0"], "0 is not in 1..=65535"),
        (
            &[TARGET, "--relay", "7400", "--stripes", "33"],
            "33 is not in 1..=32",
        ),
        (
            &[TARGET, "--relay", "7400", "--document", "Ours"],
            "cannot be used with",
        ),
        (&["f", "--relay", "7400"], "has a document of its own"),
    ] {
        let (code, stderr) = ConnectProcess::with(&simulator, &tables, arguments).end();

        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
    }
    assert_eq!(simulator.ledger().started, 0);
}

fn forward(keys: &str) -> String {
    format!("[[forward]]\nname = \"f\"\nlisten = 1\ntarget = \"{TARGET}\"\nremote = 22\n{keys}")
}

/// An upload rate that only the simulator permits.
const FAST: &str =
    "[defaults]\nupload_rate = 0\nupload_payload = 32768\nupload_window = \"4MiB\"\n";
