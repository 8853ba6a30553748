//! Targets in ECS: a container of a task, found by its service or family.

mod endpoints;
mod failures;
mod replaced_tasks;

use std::net::SocketAddr;
use std::time::Duration;

use ssm_proxyd::sim::{Ecs, EcsHealth, EcsService, Options, ServerKind, Simulator};

use crate::support::connect_process::ConnectProcess;
use crate::support::daemon_process::{DaemonProcess, assert_clean, assert_echo, caller, connect};
use crate::support::in_process::{destination, until};

const WEB: &str = "\"ecs:prod/web\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_found_by_service_or_family_and_by_name_or_arn() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 1).await;
    let arn = |path: &str| format!("\"arn:aws:ecs:us-east-1:111122223333:{path}\"");
    let (cluster, service) = (arn("cluster/prod"), arn("service/prod/web"));
    for target in [
        WEB.to_owned(),
        "\"ecs:prod/web/app\"".to_owned(),
        "{ ecs = { cluster = \"prod\", service = \"web\", container = \"app\" } }".to_owned(),
        "{ ecs = { cluster = \"prod\", family = \"web\" } }".to_owned(),
        format!("{{ ecs = {{ cluster = {cluster}, service = {service} }} }}"),
    ] {
        let daemon = start(&simulator, &target, echo.address());

        assert_echo(&mut connect(daemon.address()), b"hello");

        daemon.stop(&simulator);
    }
    let expected = vec![all(&simulator)[0].clone(); 5];
    assert_eq!(targets(&simulator), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_behind_the_task_is_reached_too() {
    let echo = destination(ServerKind::Echo).await;
    let mut options = options(&["app"], 1);
    let resolver = &mut options.resolver;
    resolver
        .insert("db.internal", None, echo.address())
        .unwrap();
    let simulator = Simulator::start(options).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward(WEB, "remote = \"db.internal:5432\""));

    assert_echo(&mut connect(daemon.address()), b"hello");

    daemon.stop(&simulator);
    let session = &simulator.ledger().sessions[0];
    assert_eq!(session.target, all(&simulator)[0]);
    assert_eq!(
        session.document,
        "AWS-StartPortForwardingSessionToRemoteHost"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_healthy_task_is_used_and_the_next_one_if_it_is_not_connected() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 4).await;
    change(&simulator, |service| {
        service.tasks[3].health = EcsHealth::Unknown;
        service.tasks[1].health = EcsHealth::Unhealthy;
    });
    let tasks = all(&simulator);
    simulator.set_offline(&tasks[2], true);
    let daemon = start(&simulator, WEB, echo.address());

    assert_echo(&mut connect(daemon.address()), b"hello");
    simulator.set_offline(&tasks[0], true);
    assert_echo(&mut connect(daemon.address()), b"hello");

    daemon.stop(&simulator);
    assert_eq!(targets(&simulator), [tasks[0].clone(), tasks[3].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_connections_shares_one_lookup() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        api_delay: Duration::from_millis(100),
        ..options(&["app"], 2)
    };
    let simulator = Simulator::start(options).await.unwrap();
    let daemon = start(&simulator, WEB, echo.address());

    let mut clients: Vec<_> = (0..8).map(|_| connect(daemon.address())).collect();
    clients
        .iter_mut()
        .for_each(|client| assert_echo(client, b"hello"));

    assert_eq!(calls(&simulator), (1, 1));
    drop(clients);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_on_the_last_page_is_found() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 230).await;
    change(&simulator, |service| {
        service
            .running()
            .take(229)
            .for_each(|task| task.exec = false);
    });
    let daemon = start(&simulator, WEB, echo.address());

    assert_echo(&mut connect(daemon.address()), b"hello");

    daemon.stop(&simulator);
    assert_eq!(targets(&simulator), [all(&simulator)[229].clone()]);
    assert_eq!(calls(&simulator), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_is_chosen_if_there_are_several() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app", "log"], 1).await;
    let daemon = start(&simulator, "\"ecs:prod/web/log\"", echo.address());

    assert_echo(&mut connect(daemon.address()), b"hello");

    daemon.stop(&simulator);
    assert_eq!(targets(&simulator), [all(&simulator)[1].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_tasks_is_followed_by_the_next_target() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 0).await;
    let target = "[\"ecs:prod/web\", \"ecs:prod/unknown\", \"i-0123456789abcdef0\"]";
    let daemon = start(&simulator, target, echo.address());

    assert_echo(&mut connect(daemon.address()), b"hello");

    daemon.stop(&simulator);
    assert_eq!(targets(&simulator), ["i-0123456789abcdef0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_takes_a_service() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(&["app"], 1).await;
    let port = echo.address().port().to_string();
    let mut process = ConnectProcess::with(&simulator, "", &["ecs:prod/web/app", &port]);

    process.send(b"hello");

    assert_eq!(process.receive(5), b"hello");
    process.signal("INT");
    assert_eq!(process.end().0, 130);
    assert_eq!(targets(&simulator), [all(&simulator)[0].clone()]);
    until("the session is ended", || simulator.open_sessions() == 0).await;
    assert_clean(&simulator);
}

/// A simulator with the service `web` in the cluster `prod`.
async fn simulator(containers: &[&str], tasks: usize) -> Simulator {
    Simulator::start(options(containers, tasks)).await.unwrap()
}

fn options(containers: &[&str], tasks: usize) -> Options {
    let service = EcsService::new("prod", "web", containers).with_tasks(tasks);
    let mut options = Options {
        ecs: Ecs {
            services: vec![service],
        },
        require_signature: true,
        ..Options::default()
    };
    // The crash of an agent is reported at once.
    options.agent.crash_delay = Duration::ZERO;
    options
}

/// Changes the service.
fn change<T>(simulator: &Simulator, change: impl FnOnce(&mut EcsService) -> T) -> T {
    simulator.change_ecs(|ecs| change(ecs.service("prod", "web").unwrap()))
}

/// The targets of the running containers, oldest task first.
fn all(simulator: &Simulator) -> Vec<String> {
    change(simulator, |service| service.targets().collect())
}

/// The targets of the sessions so far.
fn targets(simulator: &Simulator) -> Vec<String> {
    let sessions = simulator.ledger().sessions;
    sessions.into_iter().map(|session| session.target).collect()
}

/// The number of calls of ListTasks and DescribeTasks.
fn calls(simulator: &Simulator) -> (u64, u64) {
    let calls = simulator.ledger().calls;
    let of = |name| calls.get(name).copied().unwrap_or_default();
    (of("ListTasks"), of("DescribeTasks"))
}

fn forward(target: &str, keys: &str) -> String {
    format!("[[forward]]\nname = \"f\"\nlisten = \"127.0.0.1:0\"\ntarget = {target}\n{keys}\n")
}

/// A daemon with a forward to a port of this target.
fn start(simulator: &Simulator, target: &str, to: SocketAddr) -> DaemonProcess {
    let remote = format!("remote = {}", to.port());
    let command = caller(simulator);
    DaemonProcess::launch(command, &simulator.endpoint(), &forward(target, &remote))
}
