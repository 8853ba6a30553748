//! Looks up the nodes that have certain tags, with DescribeInstanceInformation.

use std::collections::BTreeMap;

use tracing::debug;

use super::lookup::Found;
use super::managed_nodes::ManagedNode;
use super::{SsmClient, place};
use crate::error_class::ErrorClass;
use crate::session::Target;
use crate::session::error::{DESCRIBE, Error, ErrorKind};
use crate::session::node_order::{Node, in_order, offline};

type Tags = BTreeMap<String, String>;

impl SsmClient {
    /// Returns the nodes with these tags, in the order in which they are tried.
    pub(super) async fn find_tagged(&self, target: &Target, tags: &Tags) -> Result<Found, Error> {
        let found = self.describe(tags).await?;
        let region = self.region();
        if found.is_empty() {
            let place = self.known_place().await;
            let why = format!("no managed node in {region} has the tags {target}{place}");
            let error = Error::new(DESCRIBE, ErrorKind::TargetNotConnected, why);
            return Err(error.with_class(ErrorClass::TargetNotFound));
        }
        let offline = match offline(&found) {
            Some(nodes) => {
                let place = self.known_place().await;
                Some(format!(
                    "no managed node in {region} with the tags {target} is online{place}: {nodes}"
                ))
            }
            None => None,
        };
        let nodes = in_order(found);
        debug!(%target, region, ?nodes, ?offline, "looked up");
        Ok(Found { nodes, offline })
    }

    /// Returns profile and account of the current credentials for a message; empty if they are not
    /// known.
    async fn known_place(&self) -> String {
        match self.api_client().await {
            Ok(api_client) => place::without_region(&api_client, &self.0.settings),
            Err(_) => String::new(),
        }
    }

    async fn describe(&self, tags: &Tags) -> Result<Vec<Node>, Error> {
        let filters = tags.iter();
        let filters = filters.map(|(key, value)| (format!("tag:{key}"), vec![value.clone()]));
        let filters: Vec<_> = filters.collect();
        let found = self.nodes_of_target(&filters).await?;
        Ok(found.nodes.iter().map(node).collect())
    }
}

fn node(found: &ManagedNode) -> Node {
    let ping_status = match found.ping_status.is_empty() {
        true => "no status",
        false => &found.ping_status,
    };
    Node {
        id: found.id.to_string(),
        is_online: found.is_online(),
        ping_status: ping_status.to_owned(),
        last_ping: found.last_ping,
    }
}
