//! DescribeInstanceInformation: the managed nodes of the account, with their ids, tags and status.
//!
//! Sessions may be started on nodes that are not listed here. Without any listed node, every node
//! that a client names by its id exists. Only the filters `tag:KEY` and `InstanceIds` are supported.
//! A node must match all filters, and any one value of each.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::{ListError, Page};

/// Node ids with their tags.
pub type Nodes = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeRequest {
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    values: Vec<String>,
}

/// Returns one page of nodes, ordered by id. `now` is in seconds since the Unix epoch; the last
/// ping of each node is one minute before that of the next.
pub(super) fn describe(
    nodes: &Nodes,
    request: &DescribeRequest,
    is_offline: impl Fn(&str) -> bool,
    agent_version: &str,
    now: u64,
) -> Result<Value, ListError> {
    for Filter { key, .. } in &request.filters {
        if !key.starts_with(TAG) && key != IDS {
            let what = format!(
                "the simulator does not support the filter {key:?}, only {TAG}KEY and {IDS}"
            );
            return Err(("InvalidFilterKey", what));
        }
    }
    let implied = implied(request);
    let nodes = if nodes.is_empty() { &implied } else { nodes };
    let token = request.next_token.as_deref();
    let page = Page::new(request.max_results, token, MIN_PAGE..=MAX_PAGE)?;
    let fitting = nodes.iter().filter(|(id, tags)| {
        let has = |Filter { key, values }: &Filter| {
            let value = match key.strip_prefix(TAG) {
                Some(key) => tags.get(key),
                None => Some(*id),
            };
            value.is_some_and(|value| values.contains(value))
        };
        request.filters.iter().all(has)
    });
    let all: Vec<_> = fitting.map(|(id, _)| id).collect();
    let count = u64::try_from(all.len()).unwrap_or_default();
    let listed = page.of(all.iter().zip(0..count)).map(|(id, place)| {
        json!({
            "InstanceId": id,
            "AgentVersion": agent_version,
            "PlatformType": "Linux",
            "PlatformName": "Amazon Linux",
            "PlatformVersion": "2023",
            "ComputerName": format!("{id}.simulated"),
            "PingStatus": if is_offline(id) { "ConnectionLost" } else { "Online" },
            "LastPingDateTime": now.saturating_sub((count - place) * 60),
        })
    });
    let mut answer = json!({ "InstanceInformationList": listed.collect::<Vec<_>>() });
    page.add_next_token(&mut answer, all.len());
    Ok(answer)
}

/// Returns the nodes that a request names by their ids.
fn implied(request: &DescribeRequest) -> Nodes {
    let by_id = request.filters.iter().filter(|filter| filter.key == IDS);
    let ids = by_id.flat_map(|filter| &filter.values);
    ids.map(|id| (id.clone(), BTreeMap::new())).collect()
}

const TAG: &str = "tag:";
const IDS: &str = "InstanceIds";

/// Minimum and maximum number of nodes per page.
const MIN_PAGE: usize = 5;
const MAX_PAGE: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: Value) -> Result<Value, ListError> {
        let mut nodes = Nodes::new();
        for n in 0..7 {
            let tags = [
                ("Name", "bastion"),
                ("Env", if n < 2 { "test" } else { "prod" }),
            ];
            let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
            nodes.insert(format!("i-{n}"), tags.into());
        }
        let request = serde_json::from_value(text).unwrap();
        describe(&nodes, &request, |id| id == "i-6", "3.3.987.0", 1_000_000)
    }

    fn ids(answer: &Value) -> Vec<&str> {
        let nodes = answer["InstanceInformationList"].as_array().unwrap();
        nodes
            .iter()
            .map(|node| node["InstanceId"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn a_node_matches_all_filters_by_any_value_of_each() {
        let filter = |key: &str, values: &[&str]| json!({ "Key": key, "Values": values });

        let both = json!([
            filter("tag:Name", &["bastion", "x"]),
            filter("tag:Env", &["test"])
        ]);
        let none = json!([
            filter("tag:Name", &["bastion"]),
            filter("tag:Other", &["test"])
        ]);

        assert_eq!(
            ids(&ask(json!({ "Filters": both })).unwrap()),
            ["i-0", "i-1"]
        );
        assert_eq!(ids(&ask(json!({ "Filters": none })).unwrap()), [""; 0]);
        let twice = json!([filter("tag:tag:Name", &["bastion"])]);
        assert_eq!(ids(&ask(json!({ "Filters": twice })).unwrap()), [""; 0]);
        let unknown = json!([filter("PingStatus", &["Online"])]);
        assert_eq!(
            ask(json!({ "Filters": unknown })).unwrap_err().0,
            "InvalidFilterKey"
        );
    }

    #[test]
    fn a_node_is_found_by_its_id_and_without_any_listed_node_every_id_exists() {
        let filter = json!({ "Filters": [{ "Key": "InstanceIds", "Values": ["i-3", "i-9"] }] });
        let request = serde_json::from_value(filter.clone()).unwrap();

        let listed = ask(filter).unwrap();
        let implied = describe(&Nodes::new(), &request, |_| false, "3.1.0.0", 0).unwrap();

        assert_eq!(ids(&listed), ["i-3"]);
        assert_eq!(ids(&implied), ["i-3", "i-9"]);
        assert_eq!(
            implied["InstanceInformationList"][0]["AgentVersion"],
            "3.1.0.0"
        );
    }

    #[test]
    fn pages_follow_each_other() {
        let first = ask(json!({ "MaxResults": 5 })).unwrap();
        let token = first["NextToken"].clone();
        let second = ask(json!({ "MaxResults": 5, "NextToken": token })).unwrap();

        assert_eq!(ids(&first).len(), 5);
        assert_eq!(ids(&second), ["i-5", "i-6"]);
        assert!(second["NextToken"].is_null());
        assert_eq!(
            second["InstanceInformationList"][1]["PingStatus"],
            "ConnectionLost"
        );
        let beyond = ask(json!({ "NextToken": usize::MAX.to_string() })).unwrap();
        assert_eq!(ids(&beyond), [""; 0]);
        assert_eq!(
            ask(json!({ "MaxResults": 1 })).unwrap_err().0,
            "ValidationException"
        );
        assert_eq!(
            ask(json!({ "NextToken": "x" })).unwrap_err().0,
            "InvalidNextToken"
        );
    }
}
