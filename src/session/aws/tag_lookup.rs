//! Looks up the nodes that have certain tags. Concurrent lookups share one call, so that a burst of
//! connections causes only one. Results are cached for 10 s, so that a replaced node is found soon.
//! At most [`MAX_ENTRIES`] are cached, besides those in use; all others are dropped at once then,
//! and looked up again when needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{InstanceInformation, InstanceInformationStringFilter, PingStatus};
use tokio::time::sleep_until;
use tracing::debug;

use super::{SsmClient, place};
use crate::clock;
use crate::error_class::ErrorClass;
use crate::session::Target;
use crate::session::error::{DESCRIBE, Error, ErrorKind};
use crate::session::node_order::{Node, in_order, offline};

/// Result of a lookup.
#[derive(Clone, Debug)]
pub(in crate::session) struct Resolved {
    /// Node ids in the order in which they are tried; at least one.
    pub(in crate::session) nodes: Vec<String>,
    /// What was found, if no node is online.
    pub(in crate::session) offline: Option<String>,
    /// Whether the result was cached.
    pub(in crate::session) from_cache: bool,
    at: Instant,
}

/// Cached lookups by tags.
#[derive(Default)]
pub(super) struct TagCache(Mutex<BTreeMap<Tags, CacheEntry>>);

type Tags = BTreeMap<String, String>;

/// A cache entry. Locked during the lookup.
type CacheEntry = Arc<tokio::sync::Mutex<Option<CachedLookup>>>;

struct CachedLookup {
    at: Instant,
    found: Result<Found, Error>,
}

/// What a lookup has found.
#[derive(Clone)]
struct Found {
    nodes: Vec<String>,
    offline: Option<String>,
}

impl Found {
    fn resolved(self, at: Instant, from_cache: bool) -> Resolved {
        let Self { nodes, offline } = self;
        Resolved {
            nodes,
            offline,
            from_cache,
            at,
        }
    }
}

impl TagCache {
    fn entry(&self, tags: &Tags) -> CacheEntry {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(tags) {
            entries.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(entries.entry(tags.clone()).or_default())
    }
}

impl SsmClient {
    /// Returns the nodes of a target.
    pub(in crate::session) async fn find(&self, target: &Target) -> Result<Resolved, Error> {
        let asked = clock::now();
        let tags = match target {
            Target::Node(id) => {
                let (nodes, offline) = (vec![id.clone()], None);
                return Ok(Found { nodes, offline }.resolved(asked, false));
            }
            Target::Tags(tags) => tags,
        };
        let entry = self.0.tag_cache.entry(tags);
        let mut cached = entry.lock().await;
        match cached.as_ref() {
            Some(CachedLookup {
                at,
                found: Ok(found),
            }) if asked < *at + CACHE_TTL => return Ok(found.clone().resolved(*at, asked >= *at)),
            Some(CachedLookup {
                at,
                found: Err(error),
            }) if asked < *at => return Err(error.clone()),
            Some(CachedLookup { at, found: Err(_) }) => sleep_until((*at + PAUSE).into()).await,
            Some(CachedLookup { found: Ok(_), .. }) | None => {}
        }
        let found = self.look_up(target, tags).await;
        let at = clock::now();
        *cached = Some(CachedLookup {
            at,
            found: found.clone(),
        });
        Ok(found?.resolved(at, false))
    }

    /// Drops a cached result, none of whose nodes is connected. The next caller looks them up
    /// again.
    pub(in crate::session) fn invalidate(&self, target: &Target, found: &Resolved) {
        let Target::Tags(tags) = target else {
            return;
        };
        // If it is locked, a lookup is already in progress.
        if let Ok(mut cached) = self.0.tag_cache.entry(tags).try_lock()
            && cached.as_ref().is_some_and(|cached| cached.at == found.at)
        {
            *cached = None;
        }
    }

    async fn look_up(&self, target: &Target, tags: &Tags) -> Result<Found, Error> {
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

/// How long a result is cached.
const CACHE_TTL: Duration = Duration::from_secs(10);

/// The minimum pause after a failed lookup.
const PAUSE: Duration = Duration::from_secs(1);

/// Nodes per page; the API allows 50.
const PAGE: i32 = 50;

/// Maximum number of pages: tags of more nodes do not identify a target.
const MAX_PAGES: usize = 10;

/// Maximum number of cached results: more than the targets of any daemon.
const MAX_ENTRIES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(value: usize) -> Tags {
        Tags::from([("Name".to_owned(), value.to_string())])
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_in_use() {
        let cache = TagCache::default();
        let used = cache.entry(&tags(0));

        for value in 1..=3 * MAX_ENTRIES {
            drop(cache.entry(&tags(value)));
            let length = cache.0.lock().unwrap().len();
            assert!(length <= MAX_ENTRIES, "{length}");
        }

        assert!(Arc::ptr_eq(&used, &cache.entry(&tags(0))));
    }
}
