//! Targets as text: an id with an optional region, a service of ECS, a tag, or a name.
//!
//! ```text
//!   i-0123456789abcdef0              an instance; also mi-… and ecs:CLUSTER_TASK_RUNTIME
//!   i-0123456789abcdef0.eu-west-1    the same, in this region
//!   ecs:CLUSTER/SERVICE              a task of a service of ECS; also ecs:CLUSTER/SERVICE/CONTAINER
//!   tag:KEY=VALUE                    a tag; KEY ends at the first `=` and may contain `:`
//!   bastion                          the tag Name=bastion
//! ```
//!
//! A text that looks like a mistyped id or tag is an error, never a name.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::config::check::identifiers::check_region;
use crate::config::check::target_ecs;
use crate::config::diagnostic::ValueError;
use crate::config::model::Target;
use crate::config::source::quoted;

impl FromStr for Target {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some(path) = text.strip_prefix(TASK)
            && path.contains('/')
        {
            return target_ecs::of_text(text, path);
        }
        if text.starts_with(TASK) || looks_like_node(text) {
            return by_id(text);
        }
        match text.strip_prefix(TAG) {
            Some(tag) => by_tag(text, tag),
            None => by_name(text),
        }
    }
}

/// Converts an id and the region behind it.
fn by_id(text: &str) -> Result<Target, ValueError> {
    let (id, region) = match text.split_once('.') {
        Some((id, region)) => (id, Some(region)),
        None => (text, None),
    };
    check_id(id, region)?;
    match region {
        Some("") => {
            let what = format!(
                "{} is not a target: no region follows the `.`",
                quoted(text)
            );
            let hint = format!("write {}, or a region behind the `.`", quoted(id));
            return Err(ValueError::new(what, hint));
        }
        Some(region) => check_region(region).map_err(|error| {
            let what = format!("{} is not a target: {error}", quoted(text));
            ValueError::new(what, error.hint())
        })?,
        None => {}
    }
    Ok(Target::Node {
        id: id.to_owned(),
        region: region.map(str::to_owned),
    })
}

fn check_id(id: &str, region: Option<&str>) -> Result<(), ValueError> {
    if is_id(id) {
        return Ok(());
    }
    let full = |id: &str| match region {
        Some(region) => format!("{id}.{region}"),
        None => id.to_owned(),
    };
    let lower = id.to_ascii_lowercase();
    let hint = match id {
        _ if id.starts_with(TASK) => {
            "write \"ecs:CLUSTER/SERVICE\", or \"ecs:CLUSTER_TASK_RUNTIME\"; RUNTIME is the runtime id of the container"
                .to_owned()
        }
        _ if is_id(&lower) => format!("write it in lower case: {}", quoted(&full(&lower))),
        _ if lower.starts_with("i-") => id_hint("`i-` and 8 or 17", &full(id)),
        _ => id_hint("`mi-` and 17", &full(id)),
    };
    let what = match id.starts_with(TASK) {
        true => format!("{} is not an ECS target", quoted(&full(id))),
        false => format!("{} is not a target", quoted(&full(id))),
    };
    Err(ValueError::new(what, hint))
}

fn id_hint(form: &str, text: &str) -> String {
    let tag = quoted(&format!("{TAG}Name={text}"));
    format!("an id is {form} of the digits 0-9 and a-f; if this is the name of a node, write {tag}")
}

/// Converts `tag:KEY=VALUE`. `tag` is the text behind `tag:`.
fn by_tag(text: &str, tag: &str) -> Result<Target, ValueError> {
    let (why, meant) = match tag.split_once('=') {
        Some((key, value)) if key.trim() != key || value.trim() != value => (
            "begins or ends with a space in its key or value",
            format!("{TAG}{}={}", key.trim(), value.trim()),
        ),
        Some(("", value)) => ("has no key", format!("{TAG}Name={value}")),
        Some((key, "")) => ("has no value", format!("{TAG}{key}=VALUE")),
        Some((key, value)) => return tagged(key, value),
        None => ("has no value", String::new()),
    };
    let what = format!("{} {why}", quoted(text));
    let hint = match tag {
        "" | "Name" => format!("write {}", quoted("tag:Name=bastion")),
        name if !name.contains('=') => {
            let name = quoted(name);
            format!("write \"{TAG}KEY=VALUE\"; for the tag Name, {name} alone is enough")
        }
        _ => format!("write {}", quoted(&meant)),
    };
    Err(ValueError::new(what, hint))
}

/// Converts a bare name.
fn by_name(text: &str) -> Result<Target, ValueError> {
    let why = match text {
        "" => "is not a target",
        _ if text.trim() != text => "begins or ends with a space",
        _ if text.ends_with('.') => "ends with `.`",
        _ if text.contains([':', '=']) => "is not a target",
        _ if ends_with_region(text) => {
            let what = format!(
                "{} ends with a region, which can follow only an id",
                quoted(text)
            );
            let tag = quoted(&format!("{TAG}{NAME}={text}"));
            let hint = format!(
                "set the region by `region` or `--region`; if all of it is the name, write {tag}"
            );
            return Err(ValueError::new(what, hint));
        }
        _ => return tagged(NAME, text),
    };
    let hint = match meant(text) {
        Some(meant) => format!("did you mean {}?", quoted(&meant)),
        None => FORMS.to_owned(),
    };
    Err(ValueError::new(format!("{} {why}", quoted(text)), hint))
}

/// Returns the target that was probably meant by a text that is none.
fn meant(text: &str) -> Option<String> {
    let trimmed = text.trim().trim_end_matches('.');
    let lower = trimmed.to_ascii_lowercase();
    let behind = |prefix: &str| lower.starts_with(prefix).then(|| &trimmed[prefix.len()..]);
    let id = trimmed.rsplit(['/', ':']).next().filter(|id| is_id(id));
    let candidate = match behind("tags:").or_else(|| behind(TAG)) {
        Some(tag) if tag.contains('=') => format!("{TAG}{tag}"),
        Some(name) => format!("{TAG}{NAME}={name}"),
        None => match (id, behind("name:"), behind(TASK)) {
            (Some(id), _, _) => id.to_owned(),
            (None, Some(name), _) => format!("{TAG}{NAME}={}", name.trim()),
            (None, None, Some(task)) => format!("{TASK}{task}"),
            (None, None, None) if trimmed.contains('=') => format!("{TAG}{trimmed}"),
            (None, None, None) if trimmed.contains(':') => format!("{TAG}{NAME}={trimmed}"),
            (None, None, None) => trimmed.to_owned(),
        },
    };
    let is_target = candidate != text && candidate.parse::<Target>().is_ok();
    is_target.then_some(candidate)
}

fn tagged(key: &str, value: &str) -> Result<Target, ValueError> {
    check_tag(key, value)?;
    let tag = (key.to_owned(), value.to_owned());
    Ok(Target::Tags(BTreeMap::from([tag])))
}

/// Checks a tag. Limits of AWS: keys of up to 128 and values of up to 256 characters. EC2 allows
/// every character in its tags, other services only letters, digits, spaces and some signs. A `*`
/// would be taken for a wildcard, which DescribeInstanceInformation does not have.
pub(super) fn check_tag(key: &str, value: &str) -> Result<(), ValueError> {
    check_part(key, "key", MAX_KEY)?;
    check_part(value, "value", MAX_VALUE)
}

fn check_part(text: &str, type_name: &str, most: usize) -> Result<(), ValueError> {
    let is_bad = |c: char| c.is_control() || c == '*';
    if (1..=most).contains(&text.chars().count()) && !text.contains(is_bad) {
        return Ok(());
    }
    let what = format!("{} is not a valid tag {type_name}", quoted(text));
    let hint = format!(
        "AWS allows 1 to {most} characters; no control character, and no `*`, because the whole \
         text is compared without wildcards"
    );
    Err(ValueError::new(what, hint))
}

/// Returns whether the text begins like the id of a node, which a name must not.
fn looks_like_node(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("i-") || lower.starts_with("mi-")
}

fn ends_with_region(name: &str) -> bool {
    let region = name.rsplit_once('.').map(|(_, region)| region);
    region.is_some_and(|region| check_region(region).is_ok())
}

fn is_id(text: &str) -> bool {
    if let Some(task) = text.strip_prefix(TASK) {
        return text.len() <= MAX_TASK && is_task(task);
    }
    let digits = |prefix: &str| text.strip_prefix(prefix).filter(|rest| is_hex(rest));
    let lengths = (digits("i-").map(str::len), digits("mi-").map(str::len));
    matches!(lengths, (Some(8 | 17), _) | (_, Some(17)))
}

/// An ECS task: the cluster, which may contain `_`, the task id and the runtime id of a container.
fn is_task(task: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let parts = task.rsplitn(3, '_').filter(|part| !part.is_empty());
    task.chars().all(is_letter) && parts.count() == 3
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Begin of an ECS target.
const TASK: &str = "ecs:";

/// Begin of a tag.
const TAG: &str = "tag:";

/// Key of the tag that a bare name stands for.
const NAME: &str = "Name";

/// Forms of a target, for a text that resembles none.
const FORMS: &str = "write an id (\"i-0123456789abcdef0\"), a tag (\"tag:Role=bastion\") or the \
                     value of the tag Name (\"bastion\"); `ssm-proxyd targets` lists the nodes";

/// Maximum characters of a tag key.
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// Maximum length of `Target` in StartSession.
const MAX_TASK: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Target {
        text.parse()
            .unwrap_or_else(|why: ValueError| panic!("{text}: {why}"))
    }

    fn node(id: &str, region: Option<&str>) -> Target {
        let (id, region) = (id.to_owned(), region.map(str::to_owned));
        Target::Node { id, region }
    }

    fn tag(key: &str, value: &str) -> Target {
        Target::Tags([(key.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn an_id_may_be_followed_by_a_region() {
        for id in [
            "i-01234567",
            "i-0123456789abcdef0",
            "mi-0123456789abcdef0",
            "ecs:my_cluster_0123_0123-456",
        ] {
            assert_eq!(read(id), node(id, None));
            let there = format!("{id}.us-gov-west-1");
            assert_eq!(read(&there), node(id, Some("us-gov-west-1")));
            assert_eq!(read(&there).to_string(), there);
        }
    }

    #[test]
    fn a_tag_has_colons_in_its_key_and_equal_signs_in_its_value() {
        assert_eq!(
            read("tag:aws:autoscaling:groupName=web"),
            tag("aws:autoscaling:groupName", "web")
        );
        assert_eq!(read("tag:k=a=b:c/d.e f"), tag("k", "a=b:c/d.e f"));
        assert_eq!(read("tag:Name=i-xyz"), tag("Name", "i-xyz"));
    }

    #[test]
    fn a_bare_name_is_the_tag_name() {
        for name in [
            "bastion",
            "Stack/Instance",
            "web.prod",
            "ip-10-0-0-5.ec2.internal",
            "my server (1)",
            "mine",
        ] {
            assert_eq!(read(name), tag("Name", name));
        }
    }

    #[test]
    fn a_near_miss_is_an_error_that_says_what_was_meant() {
        for (text, hint) in [
            ("", "write an id"),
            ("i-xyz", "\"tag:Name=i-xyz\""),
            ("i-0123456789abcdef", "8 or 17"),
            ("i-", "8 or 17"),
            ("mi-01234567", "`mi-` and 17"),
            ("I-01234567", "\"i-01234567\""),
            (
                "MI-0123456789ABCDEF0.eu-west-1",
                "\"mi-0123456789abcdef0.eu-west-1\"",
            ),
            ("i-01234567.", "write \"i-01234567\""),
            ("i-01234567.eu-west-1.", "\"eu-west-1\""),
            ("i-01234567.eu_west_1", "\"eu-west-1\""),
            ("i-01234567.EU-WEST-1", "\"eu-west-1\""),
            ("i-01234567.eu-west-1a", "availability zone"),
            ("i-01234567.ireland", "for example"),
            ("i-love.example.com", "\"tag:Name=i-love.example.com\""),
            (" i-01234567", "\"i-01234567\""),
            ("bastion ", "\"bastion\""),
            ("bastion.", "\"bastion\""),
            ("bastion.eu-west-1", "\"tag:Name=bastion.eu-west-1\""),
            ("tag:", "\"tag:Name=bastion\""),
            ("tag:Name", "\"tag:Name=bastion\""),
            ("tag:web", "\"web\" alone"),
            ("tag:Name=", "\"tag:Name=VALUE\""),
            ("tag:=x", "\"tag:Name=x\""),
            ("tag: Name = x", "\"tag:Name=x\""),
            ("tag:Name=web*", "without wildcards"),
            ("tags:Role=web", "\"tag:Role=web\""),
            ("TAG:Role=web", "\"tag:Role=web\""),
            ("Role=web", "\"tag:Role=web\""),
            ("name:web", "\"tag:Name=web\""),
            ("web:5432", "\"tag:Name=web:5432\""),
            ("ecs:prod", "CLUSTER_TASK_RUNTIME"),
            ("ECS:a_b_c", "\"ecs:a_b_c\""),
            (
                "arn:aws:ec2:eu-west-1:111122223333:instance/i-01234567",
                "\"i-01234567\"",
            ),
        ] {
            let error = text.parse::<Target>().expect_err(text);

            assert!(error.hint().contains(hint), "{text}: {}", error.hint());
        }
    }

    #[test]
    fn text_of_any_kind_is_a_target_or_an_error() {
        let pieces = [
            "",
            "i-",
            "mi-",
            "ecs:",
            "tag:",
            "=",
            ".",
            ":",
            "/",
            " ",
            "ü",
            "\0",
            "*",
            "0123456789",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    let text = format!("{a}{b}{c}");
                    drop(text.parse::<Target>());
                }
            }
        }
    }
}
