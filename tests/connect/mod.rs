//! `connect`: bytes, ends, signals, exit codes and messages, without ssh.

mod documents;
mod ends;
mod names;
mod push_key;
mod refusals;
mod relayed;
mod responses;
mod unread_input;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use ssm_proxyd::sim::{DisconnectKind, OneOffFault, Options, ServerKind, Simulator, seeded_bytes};

use crate::support::connect_process::{ConnectProcess, DEFAULTS};
use crate::support::daemon_process::assert_clean;
use crate::support::in_process::{TARGET, broken_every, destination, unpaced, until};
use crate::support::payload::{assert_whole, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn stdout_has_every_byte_and_nothing_else_and_the_exit_code_is_0() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let source = destination(ServerKind::Source {
        len: 3 << 20,
        seed: 5,
    })
    .await;
    let mut process = ConnectProcess::start(&simulator, source.address().port());

    let got = process.read_to_end();

    let sent: Vec<u8> = seeded_bytes(3 << 20, 5).flatten().collect();
    assert_whole(&got, &sent);
    assert_eq!(process.end(), (0, String::new()));
    let ledger = simulator.ledger();
    assert_eq!(ledger.sessions[0].document, "AWS-StartSSHSession");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_arrives_in_both_directions_at_once() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let mut process = ConnectProcess::start(&simulator, echo.address().port());
    let data = pattern(1, 4 << 20);
    let mut stdin = process.stdin.take().unwrap();
    let sent = data.clone();
    let writer = thread::spawn(move || {
        stdin.write_all(&sent).unwrap();
        stdin
    });

    let got = process.receive(data.len());

    assert_whole(&got, &data);
    let _open = writer.join().unwrap();
    process.signal("HUP");
    assert_eq!(process.end(), (129, String::new()));
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eof_on_stdin_does_not_truncate_the_response() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let answer = pattern(2, 1 << 20);
    let port = answering(answer.clone());
    let mut process = ConnectProcess::start(&simulator, port);

    process.send(b"question\n");
    drop(process.stdin.take());
    let got = process.read_to_end();

    assert_whole(&got, &answer);
    assert_eq!(process.end(), (0, String::new()));
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eof_on_stdin_without_a_response_ends_the_connection_in_time() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port().to_string();
    let tables = "[defaults]\nhalf_close_timeout = \"1s\"\n";
    let mut process = ConnectProcess::with(&simulator, tables, &[TARGET, &port]);

    process.send(b"question\n");
    drop(process.stdin.take());
    let (code, stderr) = process.end();

    assert_eq!(code, 75, "{stderr}");
    assert!(
        stderr.contains("no response since the end of stdin"),
        "{stderr}"
    );
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_session_at_once() {
    for (name, code) in [("HUP", 129), ("INT", 130), ("TERM", 143)] {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let echo = destination(ServerKind::Echo).await;
        let mut process = ConnectProcess::start(&simulator, echo.address().port());
        process.send(b"hello");
        assert_eq!(process.receive(5), b"hello");

        process.signal(name);
        assert_eq!(process.end(), (code, String::new()), "{name}");

        let ledger = simulator.ledger();
        assert!(ledger.sessions[0].terminate_called, "{name}");
        assert_clean(&simulator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_the_session_is_opened_ends_it() {
    let mut options = unpaced();
    options.agent.readiness = Duration::from_secs(5)..Duration::from_secs(6);
    let simulator = Simulator::start(options).await.unwrap();
    let process = ConnectProcess::start(&simulator, 22);
    until("the session is started", || simulator.ledger().started == 1).await;

    process.signal("TERM");

    assert_eq!(process.end().0, 143);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_may_still_be_active_is_reported() {
    let options = Options {
        api_delay: Duration::from_secs(3600),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let process = ConnectProcess::start(&simulator, 22);
    until("the call has arrived", || simulator.ledger().started == 1).await;

    process.signal("TERM");

    let (code, stderr) = process.end();
    assert_eq!(code, 143);
    assert!(stderr.contains("may still be active"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// ssh sends HUP when it ends, after an INT of the terminal that both received.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_forces_the_shutdown_and_leaves_no_session() {
    let options = Options {
        api_delay: Duration::from_millis(400),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let mut process = ConnectProcess::start(&simulator, echo.address().port());
    process.send(b"hello");
    assert_eq!(process.receive(5), b"hello");

    process.signal("INT");
    until("the agent has the flag", || simulator.open_sessions() == 0).await;
    process.signal("HUP");

    assert_eq!(process.end(), (130, String::new()));
    assert!(simulator.ledger().sessions[0].terminate_called);
}

/// No bytes are written, so the hang-up is the only event.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stdout_ends_the_session() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let mut process = ConnectProcess::start(&simulator, echo.address().port());
    process.send(b"hello");
    assert_eq!(process.receive(5), b"hello");

    drop(process.stdout.take());

    assert_eq!(process.end(), (0, String::new()));
    assert!(simulator.ledger().sessions[0].terminate_called);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_closed_during_a_transfer_is_not_an_error() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let source = destination(ServerKind::Source {
        len: 200 << 20,
        seed: 5,
    })
    .await;
    let mut process = ConnectProcess::start(&simulator, source.address().port());
    process.receive(100_000);

    drop(process.stdout.take());

    assert_eq!(process.end(), (0, String::new()));
    assert_clean(&simulator);
}

/// stdin and stdout are closed with their owner, which is the only event.
#[tokio::test(flavor = "multi_thread")]
async fn when_its_parent_dies_no_session_and_no_process_is_left() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let mut process = ConnectProcess::start(&simulator, echo.address().port());
    process.send(b"hello");
    assert_eq!(process.receive(5), b"hello");

    drop((process.stdin.take(), process.stdout.take()));

    assert_eq!(process.end(), (0, String::new()));
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_survives_its_websockets() {
    let options = Options {
        faults: broken_every(300, DisconnectKind::Reset),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let mut process = ConnectProcess::start(&simulator, echo.address().port());
    let data = pattern(3, 500_000);
    let mut stdin = process.stdin.take().unwrap();
    let sent = data.clone();
    let writer = thread::spawn(move || {
        stdin.write_all(&sent).unwrap();
        stdin
    });

    let got = process.receive(data.len());

    assert_whole(&got, &data);
    let _open = writer.join().unwrap();
    assert!(simulator.ledger().sessions[0].resumes >= 2);
    process.signal("TERM");
    assert_eq!(process.end(), (143, String::new()));
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_destination_uses_a_mux() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let source = destination(ServerKind::Source {
        len: 100_000,
        seed: 9,
    })
    .await;
    let remote = format!("localhost:{}", source.address().port());
    let mut process = ConnectProcess::with(&simulator, DEFAULTS, &[TARGET, "--remote", &remote]);

    let got = process.read_to_end();

    let sent: Vec<u8> = seeded_bytes(100_000, 9).flatten().collect();
    assert_whole(&got, &sent);
    assert_eq!(process.end(), (0, String::new()));
    let document = simulator.ledger().sessions[0].document.clone();
    assert_eq!(document, "AWS-StartPortForwardingSession");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_may_replace_stdin_and_stdout() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let answer = pattern(4, 300_000);
    std::fs::write(path("in"), b"question\n").unwrap();
    let file = crate::support::connect_process::file(&simulator, DEFAULTS);

    let mut command = crate::support::daemon_process::caller(&simulator);
    let status = command
        .env("SSM_PROXYD_CONFIG", file.path())
        .args(["connect", TARGET, &answering(answer.clone()).to_string()])
        .stdin(std::fs::File::open(path("in")).unwrap())
        .stdout(std::fs::File::create(path("out")).unwrap())
        .status()
        .unwrap();

    assert!(status.success(), "{status}");
    assert_whole(&std::fs::read(path("out")).unwrap(), &answer);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_to_stdout_is_reported_and_not_a_clean_end() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let file = crate::support::connect_process::file(&simulator, DEFAULTS);
    let (question, mut says) = std::io::pipe().unwrap();
    says.write_all(b"question\n").unwrap();

    // stdin stays open: the fault alone must end it.
    let mut command = crate::support::daemon_process::caller(&simulator);
    let ended = command
        .env("SSM_PROXYD_CONFIG", file.path())
        .args([
            "connect",
            TARGET,
            &answering(pattern(4, 30_000)).to_string(),
        ])
        .stdin(question)
        .stdout(
            std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        )
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();

    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(
        (ended.status.code(), stderr.lines().count()),
        (Some(1), 1),
        "{stderr}"
    );
    assert!(
        stderr.contains("cannot write to stdout: No space left"),
        "{stderr}"
    );
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_reported_and_not_a_clean_end() {
    let mut options = unpaced();
    options.agent.crash_delay = Duration::from_millis(10);
    let simulator = Simulator::start(options).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let mut process = ConnectProcess::start(&simulator, echo.address().port());
    process.send(b"hello");
    assert_eq!(process.receive(5), b"hello");

    simulator.inject(None, OneOffFault::KillAgent);
    let _open = process.stdin.take();
    let (code, stderr) = process.end();

    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(
        stderr.starts_with(&format!("ssm-proxyd: {TARGET}: ")),
        "{stderr}"
    );
    assert!(stderr.contains("crash reason"), "{stderr}");
}

/// A server for one connection: reads a line, responds, and ends.
fn answering(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(connection.try_clone().unwrap())
            .read_line(&mut line)
            .unwrap();
        connection.write_all(&answer).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        connection.read_to_end(&mut Vec::new()).unwrap();
    });
    port
}
