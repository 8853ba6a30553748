//! Tasks that are replaced while connections are opened.

use ssm_proxyd::sim::ServerKind;

use super::{WEB, all, calls, change, simulator, start, targets};
use crate::support::daemon_process::{
    assert_echo, assert_names, assert_reset, assert_served, connect,
};
use crate::support::in_process::destination;

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_that_finds_the_tasks_stopped_uses_a_new_one() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 2).await;
    let daemon = start(&simulator, WEB, echo.address());
    let mut expected = Vec::new();
    for _ in 0..3 {
        let mut open = connect(daemon.address());
        assert_echo(&mut open, b"hello");
        assert_echo(&mut connect(daemon.address()), b"hello");
        let newest = all(&simulator).pop().unwrap();
        expected.extend([newest.clone(), newest]);

        change(&simulator, |service| service.replace_tasks());

        // The agent of its task is gone.
        assert_reset(open);
    }

    assert_eq!(targets(&simulator), expected);
    // Only the first connection of each round looks the tasks up.
    assert_eq!(calls(&simulator), (3, 3));
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_served_while_tasks_are_replaced_one_by_one() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 3).await;
    let daemon = start(&simulator, WEB, echo.address());

    for round in 0..20 {
        assert_echo(
            &mut connect(daemon.address()),
            format!("{round}").as_bytes(),
        );
        change(&simulator, |service| {
            drop(service.start_task());
            // Each task is stopped, sooner or later; the newest one is the one in use.
            let newest = service.running().count() - 1;
            let victim = if round % 3 == 0 { newest - 1 } else { 0 };
            service.running().nth(victim).unwrap().stop("replaced");
        });
    }

    let used = targets(&simulator);
    assert_eq!(used.len(), 20);
    assert!(used.iter().any(|target| *target != used[0]), "{used:?}");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_had_no_task_is_used_once_it_has_one() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 0).await;
    let daemon = start(&simulator, WEB, echo.address());
    assert_reset(connect(daemon.address()));

    change(&simulator, |service| drop(service.start_task()));

    assert_served(daemon.address());
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_no_longer_has_tasks_is_reported_instead_of_its_former_task() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 1).await;
    let mut daemon = start(&simulator, WEB, echo.address());
    assert_echo(&mut connect(daemon.address()), b"hello");

    change(&simulator, |service| service.stop_tasks("scaled in"));
    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("no session");
    assert_names(&line, &["no task is running", "1 STOPPED", "scaled in"]);
    daemon.stop(&simulator);
}
