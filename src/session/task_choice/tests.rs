//! Tests of the choice of tasks.

use super::*;

fn container(name: &str) -> Container {
    Container {
        name: name.to_owned(),
        runtime_id: Some(format!("run-{name}")),
        status: RUNNING.to_owned(),
        reason: None,
        agent: Some(Agent {
            status: RUNNING.to_owned(),
            reason: None,
        }),
    }
}

fn task(id: &str, health: Health, started_at: i64) -> Task {
    Task {
        id: id.to_owned(),
        cluster: "prod".to_owned(),
        status: RUNNING.to_owned(),
        desired_status: RUNNING.to_owned(),
        has_exec: true,
        health,
        started_at,
        stopped_at: 0,
        stopped_reason: None,
        containers: vec![container("app")],
    }
}

fn healthy(id: &str) -> Task {
    task(id, Health::Healthy, 1)
}

fn stopped(id: &str, stopped_at: i64, reason: &str) -> Task {
    Task {
        status: "STOPPED".to_owned(),
        desired_status: "STOPPED".to_owned(),
        stopped_at,
        stopped_reason: Some(reason.to_owned()),
        ..healthy(id)
    }
}

/// A running task that is changed.
fn changed(change: impl FnOnce(&mut Task)) -> Task {
    let mut task = healthy("t");
    change(&mut task);
    task
}

fn refused(tasks: &[Task], container: Option<&str>) -> (ErrorClass, String) {
    let NoTask { class, why } = choose(tasks, container).unwrap_err();
    (class, why)
}

#[test]
fn the_healthiest_tasks_are_first_and_of_these_the_newest() {
    let tasks = [
        task("ill", Health::Unhealthy, 9),
        task("old", Health::Healthy, 1),
        task("unsure", Health::Unknown, 8),
        task("new", Health::Healthy, 2),
    ];

    let targets = choose(&tasks, None).unwrap();

    let expected = ["new", "old", "unsure", "ill"].map(|id| format!("ecs:prod_{id}_run-app"));
    assert_eq!(targets, expected);
}

#[test]
fn the_number_of_tried_tasks_is_limited() {
    let tasks: Vec<_> = (0..100).map(|n| healthy(&format!("{n:03}"))).collect();

    let targets = choose(&tasks, None).unwrap();

    assert_eq!(targets.len(), MAX_TASKS);
    assert_eq!(targets[0], "ecs:prod_000_run-app");
}

#[test]
fn only_usable_tasks_are_tried() {
    let tasks = [
        changed(|task| task.status = "PENDING".to_owned()),
        changed(|task| task.desired_status = "STOPPED".to_owned()),
        changed(|task| task.has_exec = false),
        changed(|task| task.containers[0].runtime_id = None),
        changed(|task| task.containers[0].agent = None),
        changed(|task| task.containers[0].name = "other".to_owned()),
        healthy("good"),
    ];

    assert_eq!(
        choose(&tasks, Some("app")).unwrap(),
        ["ecs:prod_good_run-app"]
    );
}

#[test]
fn one_container_is_chosen_by_its_name_or_because_it_is_the_only_one_of_the_user() {
    let several = changed(|task| task.containers.push(container("log")));
    let with_aws = changed(|task| {
        for name in ["aws-guardduty-agent-x1", "ecs-service-connect-y2"] {
            task.containers.push(container(name));
        }
    });

    assert_eq!(choose(&[with_aws], None).unwrap(), ["ecs:prod_t_run-app"]);
    let log = choose(std::slice::from_ref(&several), Some("log"));
    assert_eq!(log.unwrap(), ["ecs:prod_t_run-log"]);
    let (class, why) = refused(&[several], None);
    assert_eq!(class, ErrorClass::TargetAmbiguous);
    assert!(why.ends_with(": app, log"), "{why}");
}

#[test]
fn a_container_that_does_not_exist_is_reported_with_those_that_do() {
    let task = changed(|task| task.containers.push(container("log")));

    let (class, why) = refused(&[task], Some("web"));

    assert_eq!(class, ErrorClass::TargetNotFound);
    assert!(
        why.ends_with(r#"no container "web", but app, log"#),
        "{why}"
    );
}

#[test]
fn an_agent_that_is_not_running_is_reported_with_its_status_and_reason() {
    let with = |status: &str, reason: Option<&str>| {
        let agent = Agent {
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
        };
        changed(|task| task.containers[0].agent = Some(agent))
    };
    let pending = changed(|task| {
        task.containers[0].runtime_id = None;
        task.containers[0].status = "PENDING".to_owned();
    });
    for (task, end) in [
        (with("PENDING", None), "its status is PENDING"),
        (
            with("STOPPED", Some("no route")),
            "its status is STOPPED (no route)",
        ),
        (
            changed(|task| task.containers[0].agent = None),
            "its status is not reported",
        ),
        (pending, "no runtime id, its status is PENDING"),
    ] {
        let (class, why) = refused(&[task], None);

        assert_eq!(class, ErrorClass::ExecuteCommandAgentStopped);
        assert!(why.ends_with(end), "{why}");
    }
}

#[test]
fn of_several_obstacles_the_one_that_needs_the_least_is_reported() {
    let off = changed(|task| task.has_exec = false);
    let down = changed(|task| task.containers[0].agent = None);

    let (class, why) = refused(&[off.clone(), down, off.clone()], None);
    assert_eq!(class, ErrorClass::ExecuteCommandAgentStopped);
    assert!(why.starts_with("3 running tasks"), "{why}");

    let (class, why) = refused(&[off], None);
    assert_eq!(class, ErrorClass::ExecuteCommandDisabled);
    assert!(why.contains("enableExecuteCommand"), "{why}");
}

#[test]
fn without_running_tasks_the_others_are_counted_and_the_last_reason_is_given() {
    let tasks = [
        changed(|task| task.status = "PENDING".to_owned()),
        changed(|task| task.desired_status = "STOPPED".to_owned()),
        stopped("a", 1, "earlier"),
        stopped("b", 2, "CannotPullContainerError"),
    ];

    let (class, why) = refused(&tasks, None);

    assert_eq!(class, ErrorClass::TaskNotRunning);
    assert_eq!(
        why,
        "no task is running, but 1 PENDING, 1 STOPPING, 2 STOPPED; \
         the task b stopped: CannotPullContainerError"
    );
    let (_, why) = refused(&[], None);
    assert_eq!(why, "no task is running");
}

#[test]
fn a_task_without_containers_of_the_user_has_not_several() {
    let of = |containers| refused(&[changed(|task| task.containers = containers)], None);

    let none = of(Vec::new());
    let of_aws = of(vec![container("aws-guardduty-agent-x")]);

    assert_eq!(none.0, ErrorClass::TargetNotFound);
    assert_eq!(none.1, "the running task has no containers yet");
    assert_eq!(of_aws.0, ErrorClass::TargetNotFound);
    assert!(of_aws.1.ends_with("of AWS: aws-guardduty-agent-x"));
}
