//! Shutdown of a daemon: graceful after the first signal, immediate after the second, and without a
//! clean end for truncated connections even if it is killed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ssm_proxyd::sim::{ApiFault, Faults, Operation, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_clean, assert_echo, assert_reset, connect, forward, forward_to,
    with_fast_upload,
};
use crate::support::in_process::{destination, unpaced, until};
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_daemon_ends_cleanly_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let mut daemon = DaemonProcess::start(&simulator, &forward("f", "remote = 1"));

        daemon.process.signal(signal);

        assert_eq!(daemon.process.exit_code(), 0);
        let log = daemon.process.stderr.all();
        assert!(
            log.contains(&format!("stopping signal=\"SIG{signal}\"")),
            "{log}"
        );
        assert!(log.contains("all sessions are terminated"), "{log}");
        assert_eq!(simulator.ledger().started, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_resets_idle_connections_and_ends_their_sessions() {
    let echo = destination(ServerKind::Echo).await;
    for signal in ["TERM", "INT"] {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let mut daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));
        let mut clients: Vec<_> = (0..4).map(|_| connect(daemon.address())).collect();
        for client in &mut clients {
            assert_echo(client, b"hello");
        }

        daemon.process.signal(signal);

        assert_eq!(daemon.process.exit_code(), 0);
        clients.into_iter().for_each(assert_reset);
        assert_clean(&simulator);
        let ledger = simulator.ledger();
        assert_eq!(ledger.started, 4);
        assert!(
            ledger.sessions.iter().all(|s| s.terminate_called),
            "{ledger:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_transfers_is_not_a_clean_end() {
    let source = destination(ServerKind::Source {
        len: 1 << 30,
        seed: 1,
    })
    .await;
    let sink = destination(ServerKind::Sink).await;
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let forwards = [
        forward("down", &format!("remote = {}", source.address().port())),
        with_fast_upload(forward(
            "up",
            &format!("remote = {}", sink.address().port()),
        )),
    ];
    let daemon = DaemonProcess::start(&simulator, &forwards.concat());
    let mut down = connect(daemon.address_of("down"));
    down.read_exact(&mut vec![0; 1 << 20]).unwrap();
    let writer = thread::spawn(write_until_it_fails(connect(daemon.address_of("up"))));
    until("the upload is in progress", || {
        let ledger = simulator.ledger();
        ledger.sessions.iter().any(|s| s.traffic.bytes_in > 1 << 20)
    })
    .await;

    daemon.stop(&simulator);

    assert_reset(down);
    writer.join().unwrap();
    assert_eq!(simulator.ledger().started, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_pending_connections_leaves_no_session() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        api_delay: Duration::from_millis(400),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));
    let clients: Vec<_> = (0..4).map(|_| connect(daemon.address())).collect();
    until("the calls have arrived", || simulator.ledger().started == 4).await;

    daemon.stop(&simulator);

    clients.into_iter().for_each(assert_reset);
    assert_eq!(simulator.ledger().started, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_the_start_is_an_orderly_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("config.toml");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let mut command = ssm_proxyd();
    let mut process = Process::start(command.args(["run", "--config"]).arg(&pipe));
    // Opening waits until the daemon opens it too: it handles signals by then.
    let mut file = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();

    process.signal("TERM");
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\n{}",
        forward("f", "remote = 1")
    );
    // It may have ended already.
    drop(file.write_all(text.as_bytes()));
    drop(file);

    let (code, log) = (process.exit_code(), process.stderr.all());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("stopping"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_logs_a_line_for_each_open_connection() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));
    let mut clients = [(); 2].map(|()| connect(daemon.address()));
    assert_echo(&mut clients[0], b"12345");
    assert_echo(&mut clients[1], b"1");

    daemon.process.signal("USR1");

    let called = daemon.process.stderr.wait_for("listing open connections");
    assert!(called.contains("connections=2"), "{called}");
    let lines = [(); 2].map(|()| daemon.process.stderr.wait_for(" open "));
    for text in ["sent=5 received=5", "sent=1 received=1"] {
        let logged = lines.iter().filter(|line| line.contains(text));
        assert_eq!(logged.count(), 1, "{lines:#?}");
    }
    drop(clients);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_sigusr1_sigusr2_and_sigpipe_end_nothing() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));
    let mut client = connect(daemon.address());
    for signal in ["HUP", "USR1", "USR2", "PIPE"] {
        daemon.process.signal(signal);

        assert_echo(&mut client, signal.as_bytes());
    }
    daemon.stop(&simulator);
}

/// The backoff doubles; after a skipped backoff it restarts with the shortest one.
#[tokio::test(flavor = "multi_thread")]
async fn sigusr2_skips_the_backoff_before_terminate_session() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fault = ApiFault {
        code: "InternalServerError".to_owned(),
        times: None,
    };
    simulator.fail(Operation::TerminateSession, fault);
    let forward = forward_to(echo.address());
    let mut daemon = DaemonProcess::with(&simulator, &forward, |command| {
        command.env("SSM_PROXYD_LOG", "debug")
    });
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"hello");
    drop(client);
    let line = daemon.process.stderr.wait_for("pause=2s");
    assert!(line.contains("TerminateSession failed"), "{line}");

    daemon.process.signal("USR2");

    // A late signal skips the backoff of 4 s or 8 s.
    let pauses = ["pause=500ms", "pause=16s"];
    let next = daemon.process.stderr.wait_for_any(&pauses);
    assert!(next.contains("pause=500ms"), "{next}");
    simulator.set_faults(Faults::default());
    daemon.process.signal("USR2");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait() {
    let (simulator, mut daemon, client) = hanging().await;

    daemon.process.signal("TERM");
    daemon.process.stderr.wait_for("stopping");
    daemon.process.signal("INT");

    let (code, log) = (daemon.process.exit_code(), daemon.process.stderr.all());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("second stop request"), "{log}");
    assert!(log.contains("may still be active"), "{log}");
    assert_reset(client);
    drop(simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_signal_waits_for_nothing() {
    let (simulator, mut daemon, client) = hanging().await;

    daemon.process.signal("TERM");
    daemon.process.stderr.wait_for("stopping");
    daemon.process.signal("INT");
    daemon.process.stderr.wait_for("second stop request");
    daemon.process.signal("INT");

    let (code, log) = (daemon.process.exit_code(), daemon.process.stderr.all());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("stopped immediately"), "{log}");
    assert_reset(client);
    drop(simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_never_answers_does_not_block_the_shutdown() {
    let (simulator, mut daemon, client) = hanging().await;

    daemon.process.signal("TERM");

    let (code, log) = (daemon.process.exit_code(), daemon.process.stderr.all());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("may still be active"), "{log}");
    assert!(!log.contains("all sessions are terminated"), "{log}");
    assert_reset(client);
    drop(simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_leaves_resets_and_no_clean_ends() {
    let echo = destination(ServerKind::Echo).await;
    let source = destination(ServerKind::Source {
        len: 1 << 30,
        seed: 1,
    })
    .await;
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let forwards = [
        forward("echo", &format!("remote = {}", echo.address().port())),
        forward("source", &format!("remote = {}", source.address().port())),
    ];
    let mut daemon = DaemonProcess::start(&simulator, &forwards.concat());
    let mut quiet = connect(daemon.address_of("echo"));
    assert_echo(&mut quiet, b"hello");
    let mut busy = connect(daemon.address_of("source"));
    busy.read_exact(&mut [0; 65_536]).unwrap();

    daemon.process.signal("KILL");

    assert_eq!(daemon.process.wait().signal(), Some(9));
    assert_reset(quiet);
    assert_reset(busy);
}

/// A daemon with a client whose StartSession is never answered.
async fn hanging() -> (Simulator, DaemonProcess, TcpStream) {
    let options = Options {
        api_delay: Duration::from_secs(3600),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward("f", "remote = 1"));
    let client = connect(daemon.address());
    until("the call has arrived", || simulator.ledger().started == 1).await;
    (simulator, daemon, client)
}

fn write_until_it_fails(mut client: TcpStream) -> impl FnOnce() {
    move || {
        let chunk = vec![7; 65_536];
        while client.write_all(&chunk).is_ok() {}
    }
}
