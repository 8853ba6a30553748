//! Looks up the nodes that have certain tags, with DescribeInstanceInformation.

use std::collections::BTreeMap;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{InstanceInformation, InstanceInformationStringFilter, PingStatus};
use tracing::debug;

use super::lookup::Found;
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

    /// Calls DescribeInstanceInformation, page by page.
    async fn describe(&self, tags: &Tags) -> Result<Vec<Node>, Error> {
        let filters = tags.iter().map(|(key, value)| {
            let filter = InstanceInformationStringFilter::builder();
            let filter = filter.key(format!("tag:{key}")).values(value).build();
            filter.map_err(|error| Error::new(DESCRIBE, ErrorKind::Invalid, error.to_string()))
        });
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        let (mut nodes, mut next) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let call = |client: Client| {
                let call = client.describe_instance_information();
                let call = call.set_filters(Some(filters.clone())).max_results(PAGE);
                call.set_next_token(next.clone()).send()
            };
            let response = self.call(DESCRIBE, call).await?;
            nodes.extend(
                response
                    .instance_information_list
                    .into_iter()
                    .flatten()
                    .filter_map(node),
            );
            next = response.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        Ok(nodes)
    }
}

fn node(information: InstanceInformation) -> Option<Node> {
    Some(Node {
        is_online: information.ping_status == Some(PingStatus::Online),
        ping_status: match &information.ping_status {
            Some(status) => status.as_str().to_owned(),
            None => "no status".to_owned(),
        },
        last_ping: information
            .last_ping_date_time
            .map_or(0, |time| time.secs()),
        id: information.instance_id?,
    })
}

/// Nodes per page; the API allows 50.
const PAGE: i32 = 50;

/// Maximum number of pages: tags of more nodes do not identify a target.
const MAX_PAGES: usize = 10;
