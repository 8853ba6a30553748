//! Targets in ECS: `ecs:CLUSTER/SERVICE[/CONTAINER]`, and the table `ecs`.

use crate::config::check::identifiers::check_region;
use crate::config::check::value::{Checked, SpannedError, at};
use crate::config::diagnostic::ValueError;
use crate::config::document::{KeyValue, Table, Value, ValueData};
use crate::config::model::{EcsTarget, EcsTasks, Target};
use crate::config::source::{quoted, truncated};
use crate::config::suggest::closest_match;

/// Converts `ecs:CLUSTER/SERVICE[/CONTAINER]`. `path` is the text behind `ecs:`; it has a `/`.
pub(super) fn of_text(text: &str, path: &str) -> Result<Target, ValueError> {
    let parts: Vec<_> = path.split('/').collect();
    let (cluster, service, container) = match parts[..] {
        [cluster, service] => (cluster, service, None),
        [cluster, service, container] => (cluster, service, Some(container)),
        _ => return Err(no_path(text, path)),
    };
    let mut parts = [cluster, service].into_iter().chain(container);
    if !parts.all(is_name) {
        return Err(no_path(text, path));
    }
    Ok(Target::Ecs(EcsTarget {
        cluster: cluster.to_owned(),
        tasks: EcsTasks::Service(service.to_owned()),
        container: container.map(str::to_owned),
    }))
}

fn no_path(text: &str, path: &str) -> ValueError {
    let what = format!("{} is not an ECS service", quoted(text));
    // That of a service has the name of its cluster.
    let of_arn = path.split_once(":service/").map(|(_, path)| path);
    let meant = of_arn.filter(|path| path.split('/').count() >= 2 && path.split('/').all(is_name));
    let hint = match meant {
        Some(path) => format!("write {}", quoted(&format!("ecs:{path}"))),
        None => {
            format!("write \"ecs:CLUSTER/SERVICE\" or \"ecs:CLUSTER/SERVICE/CONTAINER\"; {LETTERS}")
        }
    };
    ValueError::new(what, hint)
}

/// Converts `{ cluster = "prod", service = "web", container = "app" }`.
pub(super) fn of_table(value: &Value) -> Checked<Target> {
    let ValueData::Table(table) = &value.data else {
        let what = format!("expected a table, found {}", value.data.type_name());
        return Err(at(value, ValueError::new(what, EXAMPLE)));
    };
    let unknown = table
        .entries
        .iter()
        .filter(|e| !KEYS.contains(&e.key.as_str()));
    let mut errors: Vec<_> = unknown.map(self::unknown).collect();
    let mut text = |key, kind| {
        text(table, key, kind).unwrap_or_else(|error| {
            errors.push(error);
            None
        })
    };
    let (cluster, service) = (text("cluster", "cluster"), text("service", "service"));
    let (family, container) = (text("family", ""), text("container", ""));
    let missing = |what: &str| at(value, ValueError::new(what, EXAMPLE));
    let has = |key: &str| table.entries.iter().any(|entry| entry.key == key);
    errors.extend(match (has("cluster"), has("service"), has("family")) {
        (false, _, _) => missing("`cluster` is missing"),
        (_, true, true) => missing("`service` and `family` exclude each other"),
        (_, false, false) => missing("`service` or `family` is missing"),
        (true, _, _) => Vec::new(),
    });
    if let Some((cluster, service)) = cluster.as_deref().zip(service.as_deref()) {
        errors.extend(contradiction(cluster, service).map(|error| (value.span.clone(), error)));
    }
    let family = family.map(EcsTasks::Family);
    match (cluster, service.map(EcsTasks::Service).or(family)) {
        (Some(cluster), Some(tasks)) if errors.is_empty() => Ok(Target::Ecs(EcsTarget {
            cluster,
            tasks,
            container,
        })),
        _ => Err(errors),
    }
}

/// Returns a name, or an ARN of this resource type; it has none if that is empty.
fn text(table: &Table, key: &str, resource: &str) -> Result<Option<String>, SpannedError> {
    let Some(entry) = table.entries.iter().find(|entry| entry.key == key) else {
        return Ok(None);
    };
    let span = entry.value.span.clone();
    let ValueData::Text(text) = &entry.value.data else {
        let what = format!("expected a string, found {}", entry.value.data.type_name());
        return Err((span, ValueError::new(what, EXAMPLE)));
    };
    match checked(text, key, resource) {
        Ok(()) => Ok(Some(text.clone())),
        Err(error) => Err((span, error)),
    }
}

/// Checks an argument that is the name or the ARN of a cluster.
///
/// # Errors
///
/// Fails if it is neither.
pub fn cluster(text: &str) -> Result<String, ValueError> {
    checked(text, "cluster", "cluster").map(|()| text.to_owned())
}

fn checked(text: &str, key: &str, resource: &str) -> Result<(), ValueError> {
    if is_name(text) || (!resource.is_empty() && is_arn(text, resource)) {
        return Ok(());
    }
    let what = format!("{} is not a {key} of ECS", quoted(text));
    let hint = match resource {
        "" => format!("write its name; {LETTERS}"),
        resource => {
            format!("write its name or its ARN, arn:aws:ecs:REGION:ACCOUNT:{resource}/…; {LETTERS}")
        }
    };
    Err(ValueError::new(what, hint))
}

/// Returns the error of a service that is not in this cluster, as far as their ARNs show it.
fn contradiction(cluster: &str, service: &str) -> Option<ValueError> {
    let of_cluster: Vec<_> = cluster.splitn(6, ':').collect();
    let of_service: Vec<_> = service.splitn(6, ':').collect();
    let [.., service_path] = of_service[..] else {
        return None;
    };
    let name = cluster.rsplit('/').next().unwrap_or_default();
    // A long ARN has the name of the cluster: `service/CLUSTER/SERVICE`.
    let is_elsewhere = match service_path.split('/').collect::<Vec<_>>()[..] {
        [_, cluster, _] => cluster != name,
        _ => false,
    };
    let both = of_cluster.len() == PARTS && of_service.len() == PARTS;
    let differ = |part: usize| both && of_cluster[part] != of_service[part];
    let part = match (differ(3), differ(4)) {
        (true, _) => "region",
        (false, true) => "account",
        (false, false) if is_elsewhere => "cluster",
        (false, false) => return None,
    };
    let what = format!("the ARN of `service` has another {part} than `cluster`");
    let hint = "a service is in its cluster: correct one of both";
    Some(ValueError::new(what, hint))
}

fn unknown(entry: &KeyValue) -> SpannedError {
    let what = format!("unknown key `{}` of `ecs`", truncated(&entry.key));
    let hint = match closest_match(&entry.key, KEYS) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => EXAMPLE.to_owned(),
    };
    (entry.span.clone(), ValueError::new(what, hint))
}

/// Names of clusters, services, families and containers.
fn is_name(text: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_letter)
}

/// ARNs of clusters end with one name, those of services with one or two.
fn is_arn(text: &str, resource: &str) -> bool {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let ["arn", partition, "ecs", region, account, path] = parts[..] else {
        return false;
    };
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let names = path
        .strip_prefix(resource)
        .and_then(|path| path.strip_prefix('/'));
    partition.starts_with("aws")
        && [partition, account].into_iter().all(is_word)
        && check_region(region).is_ok()
        && names.is_some_and(|names| names.split('/').count() <= 2 && names.split('/').all(is_name))
}

const KEYS: [&str; 4] = ["cluster", "service", "family", "container"];

const EXAMPLE: &str = "for example `target = { ecs = { cluster = \"prod\", service = \"web\" } }`; \
                       `family` instead of `service` selects tasks without a service";

const LETTERS: &str = "names have letters, digits, `-` and `_`";

/// Parts of an ARN.
const PARTS: usize = 6;

/// Maximum length of a name.
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, ValueError> {
        of_text(text, text.strip_prefix("ecs:").unwrap())
    }

    #[test]
    fn a_service_is_written_with_its_cluster_and_maybe_a_container() {
        for (text, container) in [("ecs:prod/web", None), ("ecs:prod/web/app", Some("app"))] {
            let expected = Target::Ecs(EcsTarget {
                cluster: "prod".to_owned(),
                tasks: EcsTasks::Service("web".to_owned()),
                container: container.map(str::to_owned),
            });

            let target = read(text).unwrap();

            assert_eq!(target, expected);
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_service_is_rejected_with_the_form_that_is_expected() {
        for (text, hint) in [
            ("ecs:/web", "ecs:CLUSTER/SERVICE"),
            ("ecs:prod/", "ecs:CLUSTER/SERVICE"),
            ("ecs:prod/web/", "ecs:CLUSTER/SERVICE"),
            ("ecs:prod/web/app/more", "ecs:CLUSTER/SERVICE"),
            ("ecs:prod/web.eu-west-1", "letters, digits"),
            ("ecs:prod/w b", "letters, digits"),
            (
                "ecs:arn:aws:ecs:eu-west-1:111122223333:service/prod/web",
                "write \"ecs:prod/web\"",
            ),
            (
                "ecs:arn:aws:ecs:eu-west-1:111122223333:service/web",
                "ecs:CLUSTER/SERVICE",
            ),
        ] {
            let error = read(text).unwrap_err();

            assert!(error.hint().contains(hint), "{text}: {}", error.hint());
        }
        assert!(read(&format!("ecs:prod/{}", "a".repeat(MAX_NAME + 1))).is_err());
    }

    #[test]
    fn the_arns_of_a_service_and_its_cluster_agree() {
        let arn = |region: &str, account: u64, path: &str| {
            format!("arn:aws:ecs:{region}:{account}:{path}")
        };
        let (here, account) = ("eu-west-1", 111_122_223_333);
        let cluster = arn(here, account, "cluster/prod");
        for good in ["web", &arn(here, account, "service/prod/web")] {
            assert_eq!(contradiction(&cluster, good), None, "{good}");
            assert_eq!(contradiction("prod", good), None, "{good}");
        }
        let short = arn(here, account, "service/web");
        assert_eq!(contradiction("test", &short), None);
        for (bad, part) in [
            (arn("eu-west-2", account, "service/prod/web"), "region"),
            (arn(here, 1, "service/web"), "account"),
            (arn(here, account, "service/test/web"), "cluster"),
        ] {
            let error = contradiction(&cluster, &bad).unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
        let bad = arn(here, account, "service/test/web");
        assert!(contradiction("prod", &bad).is_some());
    }

    #[test]
    fn an_arn_has_a_partition_a_region_an_account_and_a_resource() {
        let arn = "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:service/prod/web";
        assert!(is_arn(arn, "service"));
        assert!(is_arn(
            "arn:aws:ecs:eu-west-1:111122223333:cluster/prod",
            "cluster"
        ));
        for bad in [
            "arn:aws:ecs:eu-west-1:111122223333:cluster/",
            "arn:aws:ecs::111122223333:cluster/prod",
            "arn:aws:s3:eu-west-1:111122223333:cluster/prod",
            arn,
        ] {
            assert!(!is_arn(bad, "cluster"), "{bad}");
        }
    }
}
