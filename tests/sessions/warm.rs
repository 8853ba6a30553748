//! Warm sessions.

use std::time::Duration;

use ssm_proxyd::sim::{ApiFault, OneOffFault, Operation, Options, ServerKind, Simulator};

use super::{calls, forward};
use crate::support::daemon_process::{DaemonProcess, connect};
use crate::support::in_process::{InProcess, TARGET, destination, until};
use crate::support::transfer::{exchange, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_a_warm_forward_makes_no_api_call() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = InProcess::with(Options::default(), &forward("f", &echo, "warm = 2")).await;
    fixture
        .until("two sessions are open", |ledger| ledger.started == 2)
        .await;
    fixture.simulator.fail(Operation::StartSession, denied());

    for data in ["one", "two"] {
        let answer = request(fixture.address(), data.as_bytes()).await;
        assert_eq!(answer.unwrap(), data.as_bytes());
    }

    fixture
        .until("both sessions have ended", |ledger| {
            ledger.open_sessions() == 0
        })
        .await;
    assert!(request(fixture.address(), b"three").await.is_err());
    let ledger = fixture.end().await;
    assert_eq!(ledger.started, 2);
    for session in &ledger.sessions {
        assert_eq!(
            session.traffic.dials, 1,
            "each session must have had one connection"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn used_and_dead_warm_sessions_are_replaced() {
    let echo = destination(ServerKind::Echo).await;
    let mut options = Options::default();
    options.agent.crash_delay = Duration::from_millis(10);
    let fixture = InProcess::with(options, &forward("f", &echo, "warm = 2")).await;
    let ready = |n: usize| {
        move |ledger: &ssm_proxyd::sim::Snapshot| {
            let sessions = ledger.sessions.iter();
            let open = sessions.filter(|session| session.ended_us.is_none());
            open.filter(|session| session.ready_us.is_some()).count() == n
        }
    };
    fixture.until("two warm sessions are open", ready(2)).await;

    let mut client = tokio::net::TcpStream::connect(fixture.address())
        .await
        .unwrap();
    exchange(&mut client, b"hello").await.unwrap();

    fixture
        .until("one session in use, two warm sessions", ready(3))
        .await;
    let ledger = fixture.simulator.ledger();
    let unused = ledger
        .sessions
        .iter()
        .find(|session| session.traffic.dials == 0);
    let unused = unused.unwrap().session_id.clone();
    assert_eq!(
        fixture
            .simulator
            .inject(Some(&unused), OneOffFault::KillAgent),
        1
    );
    fixture
        .until("the session is replaced", |ledger| ledger.started == 4)
        .await;
    fixture
        .until("one session in use, two warm sessions", ready(3))
        .await;
    exchange(&mut client, b"untouched").await.unwrap();
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_warm_session_is_replaced_and_not_used() {
    let echo = destination(ServerKind::Echo).await;
    let keys = "warm = 1\nwarm_max_age = \"10s\"";
    let fixture = InProcess::with(Options::default(), &forward("f", &echo, keys)).await;

    fixture
        .until("the second warm session is open", |ledger| {
            ledger.started == 2
        })
        .await;

    fixture
        .until("the first session has ended", |ledger| {
            ledger.open_sessions() == 1
        })
        .await;
    assert_eq!(
        request(fixture.address(), b"hello").await.unwrap(),
        b"hello"
    );
    let ledger = fixture.end().await;
    let dials: Vec<u64> = ledger
        .sessions
        .iter()
        .map(|session| session.traffic.dials)
        .collect();
    assert_eq!(dials[..2], [0, 1], "{ledger:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_warm_session_is_started_for_an_offline_target() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    simulator.set_offline(TARGET, true);
    let mut daemon = DaemonProcess::start(&simulator, &forward("f", &echo, "warm = 8"));

    let line = daemon.process.stderr.wait_for("WARN");

    assert!(line.contains("cannot open a warm session"), "{line}");
    assert!(line.contains("TargetNotConnected"), "{line}");
    // The eight starts were queued, and the first response has removed those in the queue.
    let requests = calls(&simulator, Operation::StartSession);
    for _ in 0..50 {
        drop(connect(daemon.address()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let now = calls(&simulator, Operation::StartSession);
    assert!(now <= requests + 8 + 2, "{requests} calls, then {now}");
    simulator.set_offline(TARGET, false);
    daemon.process.signal("USR2");
    until("eight warm sessions are open", || {
        simulator.open_sessions() == 8
    })
    .await;
    daemon
        .process
        .stderr
        .wait_for("session starts succeed again");
    let log = daemon.stop(&simulator);
    assert_eq!(
        log.matches("cannot open a warm session").count(),
        1,
        "{log}"
    );
}

fn denied() -> ApiFault {
    ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: None,
    }
}
