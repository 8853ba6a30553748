//! Looks up the nodes of targets that are not given by id. Concurrent lookups of a target share one
//! call, so that a burst of connections causes only one. Results are cached for 10 s, so that a
//! replaced node is found soon. At most [`MAX_ENTRIES`] are cached, besides those in use; all others
//! are dropped at once then, and looked up again when needed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::SsmClient;
use crate::clock;
use crate::session::Target;
use crate::session::error::Error;

/// Result of a lookup.
#[derive(Clone, Debug)]
pub(in crate::session) struct Resolved {
    /// Node ids in the order in which they are tried; at least one.
    pub(in crate::session) nodes: Vec<String>,
    /// What was found, if none of the nodes is known to be online.
    pub(in crate::session) offline: Option<String>,
    /// Whether the result was cached.
    pub(in crate::session) from_cache: bool,
    at: Instant,
}

/// Cached lookups.
#[derive(Default)]
pub(super) struct LookupCache(Mutex<BTreeMap<Target, CacheEntry>>);

type CacheEntry = Arc<TargetLookup>;

/// The lookup of a target.
#[derive(Default)]
struct TargetLookup {
    /// Locked during a lookup.
    last: tokio::sync::Mutex<Option<CachedLookup>>,
    /// Lookups up to this time are not used again.
    invalid: Mutex<Option<Instant>>,
}

struct CachedLookup {
    at: Instant,
    found: Result<Found, Error>,
}

/// See [`Resolved`].
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) nodes: Vec<String>,
    pub(super) offline: Option<String>,
}

impl Found {
    /// Nodes, some of which may be online.
    pub(super) fn new(nodes: Vec<String>) -> Self {
        let offline = None;
        Self { nodes, offline }
    }

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

/// What a caller does with a cached lookup.
enum Reuse {
    Result(Result<Resolved, Error>),
    /// Repeat the lookup at this time, or now if it has passed.
    LookUpAt(Instant),
}

impl CachedLookup {
    /// Decides for a caller that asked at `asked`, maybe while this lookup was in progress.
    fn reuse(&self, asked: Instant) -> Reuse {
        match &self.found {
            Ok(found) if asked < self.at + CACHE_TTL => {
                let found = found.clone().resolved(self.at, asked >= self.at);
                Reuse::Result(Ok(found))
            }
            Ok(_) => Reuse::LookUpAt(asked),
            Err(error) if asked < self.at => Reuse::Result(Err(error.clone())),
            Err(_) => Reuse::LookUpAt(self.at + PAUSE),
        }
    }
}

impl LookupCache {
    fn entry(&self, target: &Target) -> CacheEntry {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(target) {
            entries.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(entries.entry(target.clone()).or_default())
    }

    /// Returns the cached nodes of a target, or those that `look_up` finds.
    async fn find(
        &self,
        target: &Target,
        look_up: impl Future<Output = Result<Found, Error>>,
    ) -> Result<Resolved, Error> {
        let asked = clock::now();
        let entry = self.entry(target);
        let mut cached = entry.last.lock().await;
        let invalid = *entry.invalid();
        drop(cached.take_if(|cached| Some(cached.at) <= invalid));
        match cached.as_ref().map(|cached| cached.reuse(asked)) {
            Some(Reuse::Result(result)) => return result,
            Some(Reuse::LookUpAt(at)) => sleep_until(at.into()).await,
            None => {}
        }
        let found = look_up.await;
        let at = clock::now();
        *cached = Some(CachedLookup {
            at,
            found: found.clone(),
        });
        Ok(found?.resolved(at, false))
    }

    /// Drops a cached result, none of whose nodes is connected. The next caller looks them up
    /// again.
    fn invalidate(&self, target: &Target, found: &Resolved) {
        let entry = self.entry(target);
        let mut invalid = entry.invalid();
        *invalid = (*invalid).max(Some(found.at));
    }
}

impl TargetLookup {
    fn invalid(&self) -> MutexGuard<'_, Option<Instant>> {
        self.invalid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SsmClient {
    /// Returns the nodes of a target.
    pub(in crate::session) async fn find(&self, target: &Target) -> Result<Resolved, Error> {
        let cache = &self.0.lookups;
        // Boxed, because the callers' futures would nest too deeply for the compiler.
        match target {
            Target::Node(id) => Ok(Found::new(vec![id.clone()]).resolved(clock::now(), false)),
            Target::Tags(tags) => {
                let finding = Box::pin(self.find_tagged(target, tags));
                cache.find(target, finding).await
            }
            Target::Ecs(ecs) => cache.find(target, Box::pin(self.find_tasks(ecs))).await,
        }
    }

    /// Returns the ids of the nodes of a target, in the order in which they are tried.
    ///
    /// # Errors
    ///
    /// Fails if there are none, or they cannot be looked up.
    pub async fn nodes_of(&self, target: &Target) -> Result<Vec<String>, Error> {
        self.find(target).await.map(|found| found.nodes)
    }

    /// Drops a cached result, none of whose nodes is connected. The next caller looks them up
    /// again.
    pub(in crate::session) fn invalidate(&self, target: &Target, found: &Resolved) {
        match target {
            Target::Node(_) => {}
            Target::Tags(_) | Target::Ecs(_) => self.0.lookups.invalidate(target, found),
        }
    }
}

/// How long a result is cached.
const CACHE_TTL: Duration = Duration::from_secs(10);

/// The minimum pause after a failed lookup.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of cached results: more than the targets of any daemon.
const MAX_ENTRIES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::session::error::ErrorKind;

    fn target(value: usize) -> Target {
        Target::Tags([("Name".to_owned(), value.to_string())].into())
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_in_use() {
        let cache = LookupCache::default();
        let used = cache.entry(&target(0));

        for value in 1..=3 * MAX_ENTRIES {
            drop(cache.entry(&target(value)));
            let length = cache.0.lock().unwrap().len();
            assert!(length <= MAX_ENTRIES, "{length}");
        }

        assert!(Arc::ptr_eq(&used, &cache.entry(&target(0))));
    }

    #[test]
    fn a_result_is_used_for_ten_seconds_and_an_error_by_those_who_waited_for_it() {
        let at = clock::now();
        let of = |found| CachedLookup { at, found };
        let found = of(Ok(Found::new(vec!["i-1".to_owned()])));
        let failed = of(Err(Error::new("call", ErrorKind::Throttled, "too many")));
        let after = |millis| at + Duration::from_millis(millis);
        let earlier = at - Duration::from_millis(1);

        let shared = |asked| match found.reuse(asked) {
            Reuse::Result(Ok(found)) => Some(found.from_cache),
            Reuse::Result(Err(_)) | Reuse::LookUpAt(_) => None,
        };
        assert_eq!(shared(earlier), Some(false));
        assert_eq!(shared(at), Some(true));
        assert_eq!(shared(after(9_999)), Some(true));
        assert_eq!(shared(after(10_000)), None);
        assert!(matches!(failed.reuse(earlier), Reuse::Result(Err(_))));
        for asked in [at, after(9_999)] {
            assert!(matches!(failed.reuse(asked), Reuse::LookUpAt(then) if then == at + PAUSE));
        }
    }

    #[tokio::test]
    async fn only_the_invalidated_result_is_dropped() {
        let (cache, lookups) = (LookupCache::default(), Cell::new(0));
        let find = async || {
            let look_up = async {
                lookups.set(lookups.get() + 1);
                Ok(Found::new(vec![lookups.get().to_string()]))
            };
            cache.find(&target(0), look_up).await.unwrap()
        };
        let first = find().await;
        cache.invalidate(&target(0), &first);
        let second = find().await;

        cache.invalidate(&target(0), &first);

        assert_eq!(
            (first.nodes, second.nodes),
            (vec!["1".to_owned()], vec!["2".to_owned()])
        );
        assert_eq!(find().await.nodes, ["2"]);
    }

    #[tokio::test]
    async fn a_result_is_dropped_although_another_caller_reads_it() {
        let cache = LookupCache::default();
        let find = async |node: &str| {
            let found = Found::new(vec![node.to_owned()]);
            cache.find(&target(0), async { Ok(found) }).await.unwrap()
        };
        let first = find("1").await;
        let entry = cache.entry(&target(0));
        let reader = entry.last.lock().await;

        cache.invalidate(&target(0), &first);

        drop(reader);
        assert_eq!(find("2").await.nodes, ["2"]);
    }
}
