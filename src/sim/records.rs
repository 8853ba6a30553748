//! Which sessions were started, what each one saw, and how it ended.
//!
//! Tests read it to know what really arrived; benches subtract the waits that it shows. All
//! times are microseconds since the simulator started. The oldest ended sessions are forgotten
//! beyond a limit, never an open one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::faults::Operation;

/// The book, shared by everything that has something to write.
#[derive(Debug)]
pub(super) struct Ledger {
    start: Instant,
    book: Mutex<Book>,
}

impl Ledger {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            book: Mutex::default(),
        }
    }

    /// Microseconds from the start to `now`.
    pub(super) fn micros(&self, now: Instant) -> u64 {
        micros(now - self.start)
    }

    /// A new session, and the page that it writes to.
    pub(super) fn open(&self, record: Record) -> Page {
        let page = Page(Arc::new(Mutex::new(record)));
        let mut book = self.lock();
        book.counts.started += 1;
        book.pages.push_back(page.clone());
        if book.pages.len() > MAX_RECORDS {
            let oldest = book.pages.iter().position(|page| !page.lock().is_open());
            drop(oldest.and_then(|oldest| book.pages.remove(oldest)));
        }
        page
    }

    /// An API call came, and was answered with `ok` or the code of an error.
    pub(super) fn count_call(
        &self,
        operation: &str,
        outcome: &str,
        signature: &str,
        arrived: Instant,
    ) {
        let counts = &mut self.lock().counts;
        if operation == Operation::StartSession.as_str()
            && counts.start_calls_us.len() < MAX_RECORDS
        {
            counts.start_calls_us.push(self.micros(arrived));
        }
        count(&mut counts.calls, operation);
        count(&mut counts.outcomes, outcome);
        count(&mut counts.signatures, signature);
    }

    /// An upgrade was refused.
    pub(super) fn count_refused_upgrade(&self, status: u16) {
        let refused = &mut self.lock().counts.refused_upgrades;
        *refused.entry(status).or_default() += 1;
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let book = self.lock();
        let mut snapshot = book.counts.clone();
        snapshot.sessions = book.pages.iter().map(|page| page.lock().clone()).collect();
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug, Default)]
struct Book {
    counts: Snapshot,
    pages: VecDeque<Page>,
}

/// The record of one session, where it is written.
#[derive(Clone, Debug)]
pub(super) struct Page(Arc<Mutex<Record>>);

impl Page {
    pub(super) fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// The session has ended; the first reason stays.
    pub(super) fn end(&self, at: u64, how: EndedBy, output: &str) {
        let mut record = self.lock();
        if record.is_open() {
            record.ended_us = Some(at);
            record.ended_by = Some(how);
            output.clone_into(&mut record.output);
        }
    }
}

/// The book at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// How many sessions were ever started.
    pub started: u64,
    /// Sessions in the order of their start.
    pub sessions: Vec<Record>,
    /// API calls by operation; what names none is `unknown`.
    pub calls: BTreeMap<String, u64>,
    /// When StartSession was called; the first 20,000.
    pub start_calls_us: Vec<u64>,
    /// API calls by outcome: `ok`, or the code of the error.
    pub outcomes: BTreeMap<String, u64>,
    /// API calls by what was thought of their signature.
    pub signatures: BTreeMap<String, u64>,
    /// Refused upgrades by HTTP status.
    pub refused_upgrades: BTreeMap<u16, u64>,
}

impl Snapshot {
    /// How many sessions have not ended.
    pub fn open_sessions(&self) -> usize {
        self.sessions
            .iter()
            .filter(|record| record.is_open())
            .count()
    }

    /// The session with this id.
    pub fn session(&self, id: &str) -> Option<&Record> {
        self.sessions.iter().find(|record| record.session_id == id)
    }
}

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Its id.
    pub session_id: String,
    /// Its target.
    pub target: String,
    /// Its document.
    pub document: String,
    /// The parameters as they were sent.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// The reason that the caller gave.
    pub reason: String,
    /// What was thought of the signature of StartSession.
    pub start_signature: String,
    /// What was thought of the signature of each upgrade; at most the last 64.
    pub upgrade_signatures: Vec<String>,
    /// How many times a websocket was asked for it.
    pub upgrades: u64,
    /// How many websockets sent the right token.
    pub attached: u64,
    /// Whether a websocket is attached now.
    pub is_attached: bool,
    /// How many websockets were lost, in whatever way.
    pub lost: u64,
    /// How many of them for too long a message or too many.
    pub cut_off: u64,
    /// How many times ResumeSession gave a token.
    pub resumes: u64,
    /// Whether TerminateSession was called for it.
    pub terminate_called: bool,
    /// The version in OpenDataChannelInput.
    pub opening_version: String,
    /// The version in HandshakeResponse.
    pub handshake_version: String,

    /// When StartSession arrived.
    pub requested_us: u64,
    /// When it was answered.
    pub started_us: u64,
    /// When the first websocket opened the channel.
    pub connected_us: Option<u64>,
    /// When HandshakeComplete was sent.
    pub handshake_us: Option<u64>,
    /// When the agent began to acknowledge data.
    pub ready_us: Option<u64>,
    /// When the first data came.
    pub first_input_us: Option<u64>,
    /// When the session ended.
    pub ended_us: Option<u64>,
    /// The injected delay of StartSession.
    pub api_delay_us: u64,
    /// From HandshakeComplete to readiness.
    pub readiness_us: Option<u64>,
    /// How long the first dial took.
    pub first_dial_us: Option<u64>,

    /// How it ended.
    pub ended_by: Option<EndedBy>,
    /// The text of `channel_closed`.
    pub output: String,
    /// What the agent counted.
    pub traffic: Traffic,
    /// What the client must not have done, and how often.
    pub violations: BTreeMap<String, u64>,
}

impl Record {
    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.ended_us.is_none()
    }
}

impl Record {
    /// A websocket was asked for.
    pub(super) fn note_upgrade(&mut self, signature: &str) {
        self.upgrades += 1;
        if self.upgrade_signatures.len() >= MAX_SIGNATURES {
            self.upgrade_signatures.remove(0);
        }
        self.upgrade_signatures.push(signature.to_owned());
    }
}

/// Counts of one session; see [`agent::Stats`](super::agent::Stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Sequenced messages consumed from the client.
    pub messages_in: u64,
    /// Output bytes in them.
    pub bytes_in: u64,
    /// Duplicates among what came.
    pub duplicates_in: u64,
    /// Messages that the agent processed and could not acknowledge.
    pub unacknowledged_in: u64,
    /// Messages that came early.
    pub early_in: u64,
    /// Acknowledgements from the client.
    pub acknowledgements_in: u64,
    /// Sequenced messages to the client, retransmissions not counted.
    pub messages_out: u64,
    /// Output bytes in them.
    pub bytes_out: u64,
    /// Messages that the agent sent again.
    pub retransmitted: u64,
    /// Messages that the client has not acknowledged.
    pub unacknowledged: u64,
    /// Dials of the agent.
    pub dials: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Connections to destinations that are open now.
    pub open_connections: u64,
    /// Messages to the client that the service discarded while none was attached.
    pub discarded: u64,
    /// Messages from the client that the service discarded while the agent's own websocket was
    /// down.
    pub discarded_in: u64,
    /// The most sequenced messages that came from the client in any second.
    pub peak_rate_in: u32,
}

/// What ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The TerminateSession flag on the data channel.
    Flag,
    /// The TerminateSession API.
    Api,
    /// The service, for nothing was said for long.
    Idle,
    /// The agent, well: its one destination ended (SSH).
    Agent,
    /// The agent, badly.
    AgentFailure,
}

/// Whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Counts one more `key`; names that clients make up share one place when there are many.
fn count(counts: &mut BTreeMap<String, u64>, key: &str) {
    let key = match counts.len() < MAX_KEYS || counts.contains_key(key) {
        true => key,
        false => "other",
    };
    *counts.entry(key.to_owned()).or_default() += 1;
}

/// Signatures of upgrades that are kept for each session.
const MAX_SIGNATURES: usize = 64;
/// Records that are kept.
const MAX_RECORDS: usize = 20_000;
/// Different operations, outcomes or signatures that are told apart.
const MAX_KEYS: usize = 64;
