//! The value of `--ecs-service`.

use crate::sim::{EcsChange, EcsHealth, EcsService};

/// Parses `CLUSTER/SERVICE[/CONTAINER…]`, and `,KEY=VALUE` for each key.
pub(super) fn ecs_service(text: &str) -> Result<EcsService, String> {
    let mut parts = text.split(',');
    let names: Vec<_> = parts.next().unwrap_or_default().split('/').collect();
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(is_letter);
    let [cluster, name, containers @ ..] = &names[..] else {
        return Err(EXPECTED.to_owned());
    };
    if !names.iter().all(is_name) {
        return Err(EXPECTED.to_owned());
    }
    let containers = match containers {
        [] => &[*name],
        containers => containers,
    };
    let mut change = EcsChange {
        tasks: Some(1),
        ..EcsChange::default()
    };
    parts.try_for_each(|part| set(&mut change, part))?;
    let mut service = EcsService::new(cluster, name, containers);
    change.apply_to(&mut service)?;
    Ok(service)
}

fn set(change: &mut EcsChange, part: &str) -> Result<(), String> {
    let bad = || format!("{part:?}: {KEYS}");
    match part.split_once('=').ok_or_else(bad)? {
        ("tasks", count) => change.tasks = Some(count.parse().map_err(|_| bad())?),
        ("exec", "on") => change.exec = Some(true),
        ("exec", "off") => change.exec = Some(false),
        ("health", "healthy") => change.health = Some(EcsHealth::Healthy),
        ("health", "unhealthy") => change.health = Some(EcsHealth::Unhealthy),
        ("health", "unknown") => change.health = Some(EcsHealth::Unknown),
        ("agent", status) => change.agent = Some(status.to_ascii_uppercase()),
        _ => return Err(bad()),
    }
    Ok(())
}

const EXPECTED: &str = "expected CLUSTER/SERVICE[/CONTAINER…], for example prod/web/app";

const KEYS: &str = "expected tasks=N, exec=on or off, health=healthy, unhealthy or unknown, or \
                    agent=running, pending or stopped";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_containers_and_tasks() {
        let mut service = ecs_service("prod/web/app/log,tasks=3,health=unhealthy").unwrap();
        assert_eq!(service.containers, ["app", "log"]);
        assert_eq!(service.running().count(), 3);
        assert_eq!(service.tasks[0].health, EcsHealth::Unhealthy);

        let service = ecs_service("prod/web,exec=off,agent=stopped").unwrap();
        assert_eq!(service.containers, ["web"]);
        assert!(!service.tasks[0].exec);
        assert_eq!(service.targets().count(), 0);
    }

    #[test]
    fn invalid_values_are_rejected_with_what_is_expected() {
        for bad in ["prod", "prod/", "/web", "prod/web/", "prod/w b"] {
            assert_eq!(ecs_service(bad).unwrap_err(), EXPECTED, "{bad}");
        }
        for bad in [
            "tasks=x",
            "tasks",
            "exec=no",
            "health=ill",
            "agent=gone",
            "x=y",
        ] {
            let error = ecs_service(&format!("prod/web,{bad}")).unwrap_err();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
