//! Failed lookups in ECS: each is reported with its cause and its remedy.

use std::net::SocketAddr;

use ssm_proxyd::sim::{ApiFault, EcsAgent, EcsService, Operation};

use super::{WEB, calls, change, simulator, start, targets};
use crate::support::daemon_process::{assert_names, assert_reset, connect};

/// A change of the service, the target, and texts of the error.
type Case = (fn(&mut EcsService), &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        |_| (),
        "\"ecs:dev/web\"",
        &[
            "class=TaskNotRunning",
            "ClusterNotFoundException",
            r#"the service \"web\" in the ECS cluster \"dev\""#,
            "us-east-1",
            "aws ecs list-clusters",
        ],
    ),
    (
        |_| (),
        "\"ecs:prod/api\"",
        &["class=TaskNotRunning", "ServiceNotFoundException", "api"],
    ),
    (
        |_| (),
        "{ ecs = { cluster = \"prod\", family = \"job\" } }",
        &[
            "class=TaskNotRunning",
            "the family",
            "job",
            "no task is running",
        ],
    ),
    (
        |service| {
            service.tasks[0].last_status = "PENDING".to_owned();
            service.tasks[1].stop("CannotPullContainerError: denied\u{1b}[2J");
        },
        WEB,
        &[
            "class=TaskNotRunning",
            "1 PENDING, 1 STOPPED",
            "CannotPullContainerError: denied",
            "region us-east-1",
            "aws ecs describe-services",
        ],
    ),
    (
        |service| service.tasks.iter_mut().for_each(|task| task.exec = false),
        WEB,
        &[
            "class=ExecuteCommandDisabled",
            "enableExecuteCommand",
            "--enable-execute-command --force-new-deployment",
        ],
    ),
    (
        |service| {
            for task in &mut service.tasks {
                task.containers[0].agent = Some(EcsAgent {
                    last_status: "STOPPED".to_owned(),
                    reason: Some("no route to ssmmessages".to_owned()),
                });
            }
        },
        WEB,
        &[
            "class=ExecuteCommandAgentStopped",
            "STOPPED (no route to ssmmessages)",
            "ssmmessages:CreateControlChannel",
        ],
    ),
    (
        |_| (),
        "\"ecs:prod/web/db\"",
        &["class=TargetNotFound", "no container", "but app"],
    ),
    (
        |service| {
            for task in &mut service.tasks {
                let mut other = task.containers[0].clone();
                other.name = "log".to_owned();
                task.containers.push(other);
            }
        },
        WEB,
        &[
            "class=TargetAmbiguous",
            "app, log",
            "ecs:CLUSTER/SERVICE/CONTAINER",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_lacks_is_reported_with_its_remedy() {
    for (fault, target, expected) in CASES {
        let simulator = simulator(&["app"], 2).await;
        change(&simulator, fault);
        let mut daemon = start(&simulator, target, unused());

        assert_reset(connect(daemon.address()));

        let line = daemon.process.stderr.wait_for("WARN");
        assert_names(&line, &[expected, &["hint="][..]].concat());
        assert!(!line.contains('\u{1b}'), "{line:?}");
        daemon.stop(&simulator);
        assert_eq!(targets(&simulator), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_reported_with_the_action_that_it_needs() {
    for (operation, code, expected) in [
        (
            Operation::ListTasks,
            "AccessDeniedException",
            &["class=AccessDenied", "ListTasks", "needs ecs:ListTasks"][..],
        ),
        (
            Operation::DescribeTasks,
            "AccessDeniedException",
            &[
                "class=AccessDenied",
                "DescribeTasks",
                "needs ecs:DescribeTasks",
            ],
        ),
        (
            Operation::ListTasks,
            "ThrottlingException",
            &["ThrottlingException", "AWS limits the rate of ListTasks"],
        ),
        (
            Operation::ListTasks,
            "InvalidParameterException",
            &["class=InvalidRequest", "names or ARNs of this region"],
        ),
    ] {
        let simulator = simulator(&["app"], 1).await;
        let code = code.to_owned();
        simulator.fail(operation, ApiFault { code, times: None });
        // The client is refused when its time is up, if the call is repeated.
        let target = format!("{WEB}\nconnect_timeout = \"2s\"");
        let mut daemon = start(&simulator, &target, unused());

        assert_reset(connect(daemon.address()));

        let line = daemon.process.stderr.wait_for("WARN");
        assert_names(&line, &[expected, &["the service", "hint="][..]].concat());
        daemon.stop(&simulator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_to_list_stopped_tasks_does_not_matter() {
    let simulator = simulator(&["app"], 1).await;
    change(&simulator, |service| service.stop_tasks("scaled in"));
    // ListTasks is called for running tasks, which are none, then for stopped ones.
    let (code, times) = ("AccessDeniedException".to_owned(), None);
    simulator.fail(Operation::DescribeTasks, ApiFault { code, times });
    let mut daemon = start(&simulator, WEB, unused());

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert_names(
        &line,
        &["no task is running; its stopped tasks could not be listed"],
    );
    daemon.stop(&simulator);
    assert_eq!(calls(&simulator), (2, 1));
}

/// No session gets as far as its destination.
fn unused() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}
