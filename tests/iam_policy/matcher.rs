//! Evaluates IAM policies, as far as they have allowing statements only.

use std::collections::BTreeMap;

use serde_json::Value;

/// A call as IAM sees it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) action: String,
    pub(super) resource: String,
    /// The values of variables and condition keys.
    pub(super) context: BTreeMap<String, String>,
}

/// Returns whether a statement of the policy allows the call.
pub(super) fn allows(policy: &Value, request: &Request) -> bool {
    let statements = policy["Statement"].as_array().unwrap();
    statements.iter().any(|statement| {
        assert_eq!(statement["Effect"], "Allow");
        let is_action = strings(&statement["Action"])
            .iter()
            .any(|action| matches(action, &request.action));
        let is_resource = strings(&statement["Resource"]).iter().any(|resource| {
            substituted(resource, request).is_some_and(|it| matches(&it, &request.resource))
        });
        is_action && is_resource && holds(&statement["Condition"], request)
    })
}

/// Returns whether all conditions hold.
fn holds(conditions: &Value, request: &Request) -> bool {
    let operators = conditions.as_object().into_iter().flatten();
    let mut all = operators.flat_map(|(operator, keys)| {
        let keys = keys.as_object().unwrap().iter();
        keys.map(move |(key, value)| (operator.as_str(), key, value.as_str().unwrap()))
    });
    all.all(|(operator, key, value)| {
        let actual = request.context.get(key);
        let expected = substituted(value, request);
        match operator {
            "StringEquals" => actual.is_some() && actual == expected.as_ref(),
            "ArnLike" => actual.is_some_and(|actual| matches(&expected.unwrap(), actual)),
            "BoolIfExists" => actual.is_none_or(|actual| Some(actual) == expected.as_ref()),
            other => panic!("unknown operator {other}"),
        }
    })
}

/// Replaces `${name}`. `None`: a variable has no value, so that nothing matches.
fn substituted(text: &str, request: &Request) -> Option<String> {
    let (mut text, mut result) = (text, String::new());
    while let Some((before, rest)) = text.split_once("${") {
        let (name, after) = rest.split_once('}').unwrap();
        result += before;
        result += match name {
            "$" => "$",
            name => request.context.get(name)?,
        };
        text = after;
    }
    Some(result + text)
}

/// Returns whether a text fits a pattern, in which `*` is any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(begin) else {
        return false;
    };
    let mut ends = (0..=text.len()).filter(|end| text.is_char_boundary(*end));
    ends.any(|end| matches(rest, &text[end..]))
}

pub(super) fn strings(value: &Value) -> Vec<&str> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn a_policy_allows_what_action_resource_and_conditions_allow() {
    let policy = serde_json::json!({ "Statement": [{
        "Effect": "Allow",
        "Action": ["ssm:StartSession"],
        "Resource": ["arn:aws:ec2:*:*:instance/*", "arn:*:session/${aws:userid}-*"],
        "Condition": {
            "StringEquals": { "ssm:resourceTag/Name": "a${$}b" },
            "BoolIfExists": { "check": "true" },
        },
    }]});
    let request = |action: &str, resource: &str, context: &[(&str, &str)]| Request {
        action: action.to_owned(),
        resource: resource.to_owned(),
        context: context
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let (node, name) = (
        "arn:aws:ec2:r:1:instance/i-1",
        ("ssm:resourceTag/Name", "a$b"),
    );
    for (expected, request) in [
        (true, request("ssm:StartSession", node, &[name])),
        (false, request("ssm:ResumeSession", node, &[name])),
        (
            false,
            request("ssm:StartSession", "arn:aws:ec2:r:1:vpc/i-1", &[name]),
        ),
        (false, request("ssm:StartSession", node, &[])),
        (
            false,
            request("ssm:StartSession", node, &[("ssm:resourceTag/Name", "ab")]),
        ),
        (
            false,
            request("ssm:StartSession", node, &[name, ("check", "false")]),
        ),
        (
            true,
            request(
                "ssm:StartSession",
                "arn:x:session/me-1",
                &[name, ("aws:userid", "me")],
            ),
        ),
        (
            false,
            request(
                "ssm:StartSession",
                "arn:x:session/you-1",
                &[name, ("aws:userid", "me")],
            ),
        ),
        (
            false,
            request("ssm:StartSession", "arn:x:session/-1", &[name]),
        ),
    ] {
        assert_eq!(allows(&policy, &request), expected, "{request:?}");
    }
}
