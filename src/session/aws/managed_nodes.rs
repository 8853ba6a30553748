//! DescribeInstanceInformation: the managed nodes that the caller can see.

use std::collections::BTreeSet;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{InstanceInformation, InstanceInformationStringFilter, PingStatus};

use super::SsmClient;
use super::paging::{AfterPage, Pages};
use crate::printable::Printable;
use crate::session::error::{DESCRIBE, Error, ErrorKind};

/// A managed node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedNode {
    /// The id: `i-…` or `mi-…`.
    pub id: Printable,
    /// The name of a hybrid node, else the host name that its agent reported; may be empty.
    pub name: Printable,
    /// The operating system and its version; may be empty.
    pub platform: Printable,
    /// The version of its agent; may be empty.
    pub agent_version: Printable,
    /// `Online`, `ConnectionLost`, `Inactive`, or another status.
    pub ping_status: Printable,
    /// When its agent last reported, in seconds since the Unix epoch; 0 if unknown.
    pub last_ping: i64,
}

impl ManagedNode {
    /// Returns whether its agent is connected.
    pub fn is_online(&self) -> bool {
        self.ping_status == *PingStatus::Online.as_str()
    }
}

/// The result of a listing.
#[derive(Clone, Debug, Default)]
pub struct ManagedNodes {
    /// The nodes, in the order of AWS.
    pub nodes: Vec<ManagedNode>,
    /// There are more nodes than the maximum.
    pub is_cut: bool,
}

/// A filter of DescribeInstanceInformation: a key and the values of which any fits.
pub type NodeFilter = (String, Vec<String>);

impl SsmClient {
    /// Lists the nodes that fit all filters, page by page, at most `max_pages` of 50 nodes.
    ///
    /// # Errors
    ///
    /// The error of the call: [`ErrorKind::Denied`] without the permission.
    pub async fn managed_nodes(
        &self,
        filters: &[NodeFilter],
        max_pages: usize,
    ) -> Result<ManagedNodes, Error> {
        let filters = filters.iter().map(|(key, values)| {
            let filter = InstanceInformationStringFilter::builder().key(key);
            let filter = filter.set_values(Some(values.clone())).build();
            filter.map_err(|error| Error::new(DESCRIBE, ErrorKind::Invalid, error.to_string()))
        });
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        let (mut nodes, mut known) = (Vec::new(), BTreeSet::new());
        let mut pages = Pages::new(max_pages);
        loop {
            let call = |client: Client| {
                let call = client.describe_instance_information();
                let call = call.set_filters(Some(filters.clone())).max_results(PAGE);
                call.set_next_token(pages.token()).send()
            };
            let response = self.call(DESCRIBE, call).await?;
            let listed = response.instance_information_list.into_iter().flatten();
            let before = nodes.len();
            for node in listed.filter_map(node) {
                if known.insert(node.id.clone()) {
                    nodes.push(node);
                }
            }
            let is_cut = match pages.turn(response.next_token, nodes.len() > before) {
                AfterPage::Next => continue,
                AfterPage::End => false,
                AfterPage::Cut => true,
            };
            return Ok(ManagedNodes { nodes, is_cut });
        }
    }

    /// Lists the nodes of a target. If there are too many, and none of the first ones is online, the
    /// online ones are listed, if there are any.
    ///
    /// # Errors
    ///
    /// As [`SsmClient::managed_nodes`].
    pub async fn nodes_of_target(&self, filters: &[NodeFilter]) -> Result<ManagedNodes, Error> {
        let found = self.managed_nodes(filters, MAX_PAGES).await?;
        if !found.is_cut || found.nodes.iter().any(ManagedNode::is_online) {
            return Ok(found);
        }
        let online = PingStatus::Online.as_str().to_owned();
        let online = ("PingStatus".to_owned(), vec![online]);
        let filters: Vec<_> = filters.iter().cloned().chain([online]).collect();
        let online = self.managed_nodes(&filters, MAX_PAGES).await?;
        Ok(match online.nodes.is_empty() {
            true => found,
            false => online,
        })
    }
}

fn node(information: InstanceInformation) -> Option<ManagedNode> {
    let text = |text: Option<String>| Printable::cut(&text.unwrap_or_default(), MAX_TEXT);
    let name = information.name.filter(|name| !name.is_empty());
    let platform = [information.platform_name, information.platform_version];
    let platform: Vec<_> = platform.into_iter().flatten().collect();
    let ping_status = information.ping_status;
    Some(ManagedNode {
        id: text(Some(information.instance_id?)),
        name: text(name.or(information.computer_name)),
        platform: text(Some(platform.join(" "))),
        agent_version: text(information.agent_version),
        ping_status: text(ping_status.map(|status| status.as_str().to_owned())),
        last_ping: information
            .last_ping_date_time
            .map_or(0, |time| time.secs()),
    })
}

/// Nodes per page; the API allows 50.
const PAGE: i32 = 50;

/// Maximum number of pages of the nodes of a target.
const MAX_PAGES: usize = 10;

/// Maximum number of characters of each text.
const MAX_TEXT: usize = 200;
