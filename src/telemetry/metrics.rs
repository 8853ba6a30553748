//! What a forward counts while it runs. Cheap to read at any time, from anywhere.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::printable::Printable;

/// The meters of one forward.
#[derive(Debug, Default)]
pub struct ForwardMetrics {
    /// Connections that have no session yet.
    pub waiting: Gauge,
    /// Connections that have one.
    pub open: Gauge,
    /// Connections that were accepted since it runs.
    pub accepted: AtomicU64,
    /// Bytes that were taken from clients.
    pub sent: AtomicU64,
    /// Bytes that were given to clients.
    pub received: AtomicU64,
    /// Sessions that can carry bytes.
    pub sessions: AtomicUsize,
    /// Of these, such as wait for a connection.
    pub ready: AtomicUsize,
    /// Sessions that AWS has started since it runs.
    pub started: AtomicU64,
    /// Sessions that did not come up.
    pub failed: AtomicU64,
    /// Websockets that took the place of one that broke.
    pub resumed: AtomicU64,
    /// A session could carry bytes at some time.
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    has_come_up: bool,
    /// Why sessions do not come up.
    trouble: Option<Trouble>,
    /// Why connections do not reach their destination.
    refusal: Option<Trouble>,
}

/// What is wrong with a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong, in a word.
    pub word: &'static str,
    /// In a sentence.
    pub error: Printable,
    /// What to do about it; empty if nothing.
    pub hint: Printable,
    /// When it began.
    pub since: Instant,
    /// When it was seen last.
    pub seen: Instant,
}

impl ForwardMetrics {
    /// A session came up: nothing is wrong with that.
    pub fn handle_success(&self) {
        let mut past = self.past();
        past.has_come_up = true;
        past.trouble = None;
    }

    /// A session did not come up. The same trouble goes on since it began.
    pub fn record_failure(&self, trouble: Trouble) {
        trouble.follow(&mut self.past().trouble);
    }

    /// The destination could not be reached through a session that came up.
    pub fn handle_refusal(&self, refusal: Trouble) {
        refusal.follow(&mut self.past().refusal);
    }

    /// The destination has said something.
    pub fn handle_answer(&self) {
        self.past().refusal = None;
    }

    /// What is wrong, as far as is known.
    pub fn trouble(&self) -> Option<Trouble> {
        let past = self.past();
        past.trouble.clone().or_else(|| past.refusal.clone())
    }

    /// Whether a session has ever come up.
    pub fn has_come_up(&self) -> bool {
        self.past().has_come_up
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    /// Takes the place of what was known before, since when it has lasted.
    fn follow(self, former: &mut Option<Self>) {
        let since = former.as_ref().map_or(self.since, |former| former.since);
        *former = Some(Self { since, ..self });
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// One more, until what is returned is dropped.
    pub fn count(&self) -> Count<'_> {
        self.0.fetch_add(1, Relaxed);
        Count(self)
    }

    /// How many.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// One of those that are counted.
#[derive(Debug)]
pub struct Count<'a>(&'a Gauge);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn trouble(word: &'static str, at: Instant) -> Trouble {
        Trouble {
            word,
            error: Printable::default(),
            hint: Printable::default(),
            since: at,
            seen: at,
        }
    }

    #[test]
    fn what_is_counted_is_counted_while_it_lasts() {
        let metrics = ForwardMetrics::default();
        let one = metrics.open.count();
        let two = metrics.open.count();
        assert_eq!(metrics.open.get(), 2);
        drop((one, two));
        assert_eq!(metrics.open.get(), 0);
    }

    #[test]
    fn trouble_lasts_from_its_beginning_to_the_next_success() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let metrics = ForwardMetrics::default();

        metrics.record_failure(trouble("AccessDenied", start));
        metrics.record_failure(trouble("Unreachable", later));

        let known = metrics.trouble().unwrap();
        assert_eq!(
            (known.word, known.since, known.seen),
            ("Unreachable", start, later)
        );
        assert!(!metrics.has_come_up());
        metrics.handle_success();
        assert_eq!(metrics.trouble(), None);
        assert!(metrics.has_come_up());
    }

    #[test]
    fn a_destination_that_refuses_is_told_until_it_answers() {
        let metrics = ForwardMetrics::default();

        metrics.handle_refusal(trouble("DestinationRefused", Instant::now()));
        // Of another connection.
        metrics.handle_success();
        assert!(metrics.trouble().is_some());
        metrics.handle_answer();

        assert_eq!(metrics.trouble(), None);
    }
}
