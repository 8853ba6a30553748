//! Order in which the nodes found by a tag lookup are tried, and their summary in errors.

use std::cmp::Ordering;

/// A managed node, as Session Manager sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: String,
    /// Whether its agent is connected, as far as Session Manager knows.
    pub(super) is_online: bool,
    /// The status of its agent, as AWS names it.
    pub(super) ping_status: String,
    /// When its agent last sent a ping, in seconds since the Unix epoch.
    pub(super) last_ping: i64,
}

/// Returns the ids of the online nodes, at most [`MAX_NODES`], the most recently seen first: a node
/// that has just died is reported online for minutes, but its pings stop. If none is online,
/// returns the most recently seen one: it may just be back.
pub(super) fn in_order(mut nodes: Vec<Node>) -> Vec<String> {
    nodes.sort_by(compare);
    let online = nodes.iter().filter(|node| node.is_online).count();
    nodes.truncate(online.clamp(1, MAX_NODES));
    nodes.into_iter().map(|node| node.id).collect()
}

/// Returns the ids and states of the nodes if none of them is online.
pub(super) fn offline(nodes: &[Node]) -> Option<String> {
    if nodes.is_empty() || nodes.iter().any(|node| node.is_online) {
        return None;
    }
    let mut nodes: Vec<_> = nodes.iter().collect();
    nodes.sort_by(|a, b| compare(a, b));
    let listed = nodes.iter().take(MAX_LISTED);
    let listed = listed.map(|node| format!("{} ({})", node.id, node.ping_status));
    let mut text = listed.collect::<Vec<_>>().join(", ");
    if let more @ 1.. = nodes.len().saturating_sub(MAX_LISTED) {
        text += &format!(" and {more} more");
    }
    Some(text)
}

/// Orders the nodes that are more likely connected first.
fn compare(a: &Node, b: &Node) -> Ordering {
    let online = b.is_online.cmp(&a.is_online);
    online
        .then(b.last_ping.cmp(&a.last_ping))
        .then(a.id.cmp(&b.id))
}

/// Maximum number of nodes listed in an error.
const MAX_LISTED: usize = 8;

/// Maximum number of nodes tried per lookup: each is a call while a connection waits.
const MAX_NODES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, is_online: bool, last_ping: i64) -> Node {
        let id = id.to_owned();
        let ping_status = if is_online {
            "Online"
        } else {
            "ConnectionLost"
        }
        .to_owned();
        Node {
            id,
            is_online,
            ping_status,
            last_ping,
        }
    }

    #[test]
    fn the_most_recently_seen_online_node_is_first() {
        let nodes = vec![
            node("i-gone", false, 9),
            node("i-c", true, 5),
            node("i-b", true, 7),
            node("i-a", true, 5),
        ];

        assert_eq!(in_order(nodes), ["i-b", "i-a", "i-c"]);
    }

    #[test]
    fn of_offline_nodes_only_one_is_tried() {
        let nodes = vec![node("i-a", false, 1), node("i-b", false, 2)];

        assert_eq!(in_order(nodes), ["i-b"]);
        assert_eq!(in_order(Vec::new()), [""; 0]);
    }

    #[test]
    fn the_number_of_tried_nodes_is_limited() {
        let crowd = (0..100)
            .map(|n| node(&format!("i-{n:03}"), true, 0))
            .collect();

        assert_eq!(in_order(crowd), ["i-000", "i-001", "i-002", "i-003"]);
    }

    #[test]
    fn nodes_are_listed_if_all_are_offline() {
        let two = [node("i-a", false, 5), node("i-b", false, 7)];
        assert_eq!(
            offline(&two).as_deref(),
            Some("i-b (ConnectionLost), i-a (ConnectionLost)")
        );
        assert_eq!(offline(&[]), None);
        assert_eq!(
            offline(&[node("i-a", false, 5), node("i-b", true, 7)]),
            None
        );
        let many: Vec<_> = (0..10).map(|n| node(&format!("i-{n}"), false, 0)).collect();
        assert!(
            offline(&many)
                .unwrap()
                .ends_with("i-7 (ConnectionLost) and 2 more")
        );
    }
}
