//! Sessions that their owner cannot end: it was stopped during a burst, killed, lost to a panic, or
//! may not call TerminateSession.

use std::time::Duration;

use ssm_proxyd::session::{Identity, Journal, Sessions, Settings, ShutdownMode, SsmClient};
use ssm_proxyd::sim::{ApiFault, EndedBy, Operation, Options, ServerKind, Simulator};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{forward, request, start_session};
use crate::cli::ended;
use crate::support::daemon_process::{
    DaemonProcess, assert_clean, assert_echo, assert_names, caller, connect,
};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_a_burst_ends_every_session() {
    let echo = destination(ServerKind::Echo).await;
    for millis in [0, 60, 120, 200] {
        let options = Options {
            api_delay: Duration::from_millis(100),
            ..Options::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let limits = "[limits]\nsession_start_rate = 100\n";
        let forwards = forward("f", &echo, "") + &forward("warm", &echo, "warm = 8");
        let mut daemon = DaemonProcess::start(&simulator, &format!("{limits}{forwards}"));
        let address = daemon.address_of("f");
        let clients: Vec<_> = (0..100).map(|_| connect(address)).collect();
        tokio::time::sleep(Duration::from_millis(millis)).await;

        daemon.process.signal("TERM");

        let (code, log) = (daemon.process.exit_code(), daemon.process.stderr.all());
        assert_eq!(code, 0, "{log}");
        assert!(log.contains("all sessions are terminated"), "{log}");
        println!("{} sessions after {millis} ms", simulator.ledger().started);
        assert_clean(&simulator);
        drop(clients);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_killed_daemon_are_ended_by_the_next_one_and_no_other() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    let at = |command: &mut std::process::Command| {
        command.env("STATE_DIRECTORY", state.path());
    };
    let start = || {
        let mut command = caller(&simulator);
        at(&mut command);
        DaemonProcess::launch(command, &simulator.endpoint(), &forward("f", &echo, ""))
    };
    let mut killed = start();
    let clients: Vec<_> = (0..5).map(|_| served(&killed)).collect();
    let beside = start();
    let mut other = served(&beside);
    assert_eq!(
        simulator.open_sessions(),
        6,
        "each journal must have an owner"
    );

    killed.process.signal("KILL");
    killed.process.wait();
    drop(clients);
    assert_eq!(simulator.open_sessions(), 6, "no process could end them");
    let next = start();

    until("five sessions are ended", || simulator.open_sessions() == 1).await;
    assert_echo(&mut other, b"untouched");
    drop(other);
    until("its session has ended too", || {
        simulator.open_sessions() == 0
    })
    .await;
    let log = next.stop(&simulator);
    assert_names(&log, &["killed former run left active", "count=5"]);
    beside.stop(&simulator);
    let left = std::fs::read_dir(state.path()).unwrap().count();
    assert_eq!(left, 0, "a clean stop leaves no file");
}

/// A short command must not be delayed by a session that cannot be ended.
#[tokio::test(flavor = "multi_thread")]
async fn short_commands_leave_sessions_they_cannot_end_to_others() {
    let echo = destination(ServerKind::Echo).await;
    let state = tempfile::tempdir().unwrap();
    let gone = Simulator::start(Options::default()).await.unwrap();
    let mut command = caller(&gone);
    command.env("STATE_DIRECTORY", state.path());
    let endpoint = gone.endpoint();
    let mut killed = DaemonProcess::launch(command, &endpoint, &forward("f", &echo, ""));
    let _client = served(&killed);
    killed.process.signal("KILL");
    killed.process.wait();
    drop(gone);
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let local = format!("0:localhost:{}", echo.address().port());

    let mut command = caller(&simulator);
    command
        .env("STATE_DIRECTORY", state.path())
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
        .env("AWS_REGION", "us-east-1")
        .args(["exec", TARGET, "-L", &local, "--", "true"]);
    let (code, _, stderr) = ended(&mut command);

    assert_eq!((code, stderr.as_str()), (0, ""));
    let mut files = std::fs::read_dir(state.path()).unwrap();
    let journal = std::fs::read_to_string(files.next().unwrap().unwrap().path()).unwrap();
    assert!(
        journal.contains(&endpoint),
        "it is left to the next process: {journal}"
    );
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_command_ends_the_orphaned_sessions_it_can() {
    let echo = destination(ServerKind::Echo).await;
    let state = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut command = caller(&simulator);
    command.env("STATE_DIRECTORY", state.path());
    let endpoint = simulator.endpoint();
    let mut killed = DaemonProcess::launch(command, &endpoint, &forward("f", &echo, ""));
    let client = served(&killed);
    killed.process.signal("KILL");
    killed.process.wait();
    drop(client);
    let local = format!("0:localhost:{}", echo.address().port());
    let mut command = caller(&simulator);
    command
        .env("STATE_DIRECTORY", state.path())
        .env("AWS_ENDPOINT_URL_SSM", &endpoint)
        .env("AWS_REGION", "us-east-1")
        .args(["forward", TARGET, "-L", &local]);
    let mut short = Process::start(&mut command);

    until("the session is ended", || simulator.open_sessions() == 0).await;

    short.signal("TERM");
    assert_eq!(short.exit_code(), 0);
    let stderr = short.stderr.all();
    assert!(!stderr.contains("WARN"), "{stderr}");
    assert_clean(&simulator);
}

/// The endpoint of the data channel accepts connections and sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_while_its_tunnel_dials_leaves_no_session() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n\
         ssmmessages_endpoint = \"ws://{}\"\n[shutdown]\ndrain_timeout = \"0s\"\n{}",
        simulator.endpoint(),
        silent.local_addr().unwrap(),
        crate::support::daemon_process::forward("f", "remote = 1\nconnect_timeout = \"5m\""),
    );
    let daemon = DaemonProcess::of_file(caller(&simulator), &text);
    let client = connect(daemon.address());
    let _websocket = silent.accept().await.unwrap();
    assert_eq!(simulator.open_sessions(), 1);

    drop(client);

    until("the session is ended", || simulator.open_sessions() == 0).await;
    daemon.stop(&simulator);
}

fn served(daemon: &DaemonProcess) -> std::net::TcpStream {
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"hello");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_for_terminate_session_the_flag_ends_sessions() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fault = ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: None,
    };
    simulator.fail(Operation::TerminateSession, fault);
    let mut daemon = DaemonProcess::start(&simulator, &forward("f", &echo, ""));

    for _ in 0..3 {
        drop(served(&daemon));
    }
    until("all sessions are ended", || simulator.open_sessions() == 0).await;
    let mut last = served(&daemon);
    assert_echo(&mut last, b"open at the stop");

    daemon.process.signal("TERM");
    assert_eq!(daemon.process.exit_code(), 0);
    // The agent has the flag by then; only this test waits until the agent handles it.
    until("the last session is ended", || {
        simulator.open_sessions() == 0
    })
    .await;
    assert_clean(&simulator);
    for session in simulator.ledger().sessions {
        assert_eq!(session.ended_by, Some(EndedBy::Flag), "{session:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_panics_or_is_aborted_leaves_no_session() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let credentials = &simulator.options().credentials;
    let settings = Settings {
        region: Some("us-east-1".to_owned()),
        ssm_endpoint: Some(simulator.endpoint()),
        identity: Identity::Fixed {
            access_key: credentials.access_key_id.clone(),
            secret_key: credentials.secret_access_key.clone(),
        },
        ..Settings::default()
    };
    let service = SsmClient::load(settings).await.unwrap();
    let (sessions, dispatcher) = Sessions::new(100, 1, Journal::none());
    let mut ending = JoinSet::new();
    ending.spawn(dispatcher.run(watch::Sender::new(ShutdownMode::Running).subscribe()));
    let start = |outcome: Outcome| {
        let (service, sessions) = (service.clone(), sessions.clone());
        async move {
            let session = start_session(&sessions, &service, request()).await.unwrap();
            match outcome {
                Outcome::Panic => panic!("with session {}", session.id()),
                Outcome::Abort => std::future::pending().await,
            }
        }
    };

    let mut tasks = JoinSet::new();
    tasks.spawn(start(Outcome::Panic));
    tasks.spawn(start(Outcome::Abort));
    let panicked = tasks.join_next().await.unwrap();
    until("both sessions have started", || {
        simulator.ledger().started == 2
    })
    .await;
    tasks.abort_all();
    let aborted = tasks.join_next().await.unwrap();

    assert!(panicked.unwrap_err().is_panic());
    assert!(aborted.unwrap_err().is_cancelled());
    drop((service, sessions));
    assert_eq!(ending.join_all().await, [0]);
    assert_clean(&simulator);
}

/// The end of a task that has a session.
enum Outcome {
    Panic,
    Abort,
}
