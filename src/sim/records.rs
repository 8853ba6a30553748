//! Records of all sessions, and counters of API calls.
//!
//! Tests use them to check what arrived; benchmarks subtract the recorded delays. All times are in
//! microseconds since the start of the simulator. Beyond a limit the oldest ended sessions are
//! removed, never open ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::faults::Operation;
use super::pushed_keys::PushedKey;

/// Shared records of the simulator.
#[derive(Debug)]
pub(super) struct Recorder {
    start: Instant,
    state: Mutex<RecorderState>,
}

impl Recorder {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            state: Mutex::default(),
        }
    }

    /// Returns the microseconds from the start to `now`.
    pub(super) fn micros(&self, now: Instant) -> u64 {
        micros(now - self.start)
    }

    /// Adds a session; returns the handle for updates of its record.
    pub(super) fn open(&self, record: SessionRecord) -> SharedRecord {
        let record = SharedRecord(Arc::new(Mutex::new(record)));
        let mut state = self.lock();
        state.counts.started += 1;
        state.records.push_back(record.clone());
        if state.records.len() > MAX_RECORDS {
            let oldest = state
                .records
                .iter()
                .position(|record| !record.lock().is_open());
            drop(oldest.and_then(|oldest| state.records.remove(oldest)));
        }
        record
    }

    /// Counts an API call and its outcome: `ok` or an error code.
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

    /// Records a key that was pushed.
    pub(super) fn record_key(&self, key: PushedKey) {
        let keys = &mut self.lock().counts.pushed_keys;
        if keys.len() >= MAX_PUSHED_KEYS {
            keys.remove(0);
        }
        keys.push(key);
    }

    /// Counts a rejected upgrade.
    pub(super) fn count_refused_upgrade(&self, status: u16) {
        let refused = &mut self.lock().counts.refused_upgrades;
        *refused.entry(status).or_default() += 1;
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let mut snapshot = state.counts.clone();
        snapshot.sessions = state
            .records
            .iter()
            .map(|record| record.lock().clone())
            .collect();
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, RecorderState> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug, Default)]
struct RecorderState {
    counts: Snapshot,
    records: VecDeque<SharedRecord>,
}

/// Shared handle of the record of one session.
#[derive(Clone, Debug)]
pub(super) struct SharedRecord(Arc<Mutex<SessionRecord>>);

impl SharedRecord {
    pub(super) fn lock(&self) -> MutexGuard<'_, SessionRecord> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Records the end of a session; only the first call has an effect.
    ///
    /// A client that saw the acknowledgement of its flag may call TerminateSession before the agent
    /// reports its end: the flag remains the cause.
    pub(super) fn end(&self, at: u64, how: EndedBy, output: &str) {
        let mut record = self.lock();
        if record.is_open() {
            let is_late = record.has_flag && how == EndedBy::Api;
            record.ended_us = Some(at);
            record.ended_by = Some(if is_late { EndedBy::Flag } else { how });
            output.clone_into(&mut record.output);
        }
    }
}

/// Snapshot of all records.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// Total number of sessions started.
    pub started: u64,
    /// Sessions in order of their start.
    pub sessions: Vec<SessionRecord>,
    /// API calls by operation; `unknown` if the operation is not supported.
    pub calls: BTreeMap<String, u64>,
    /// Times of the first 20,000 StartSession calls.
    pub start_calls_us: Vec<u64>,
    /// API calls by outcome: `ok` or an error code.
    pub outcomes: BTreeMap<String, u64>,
    /// API calls by result of the signature check.
    pub signatures: BTreeMap<String, u64>,
    /// Rejected upgrades by HTTP status.
    pub refused_upgrades: BTreeMap<u16, u64>,
    /// The last 64 keys of SendSSHPublicKey.
    pub pushed_keys: Vec<PushedKey>,
}

impl Snapshot {
    /// Returns the number of sessions that have not ended.
    pub fn open_sessions(&self) -> usize {
        self.sessions
            .iter()
            .filter(|record| record.is_open())
            .count()
    }

    /// Returns the session with this id.
    pub fn session(&self, id: &str) -> Option<&SessionRecord> {
        self.sessions.iter().find(|record| record.session_id == id)
    }
}

/// Record of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionRecord {
    /// Session id.
    pub session_id: String,
    /// Target.
    pub target: String,
    /// Document.
    pub document: String,
    /// Parameters as sent by the client.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// Reason given by the client.
    pub reason: String,
    /// Result of the signature check of StartSession.
    pub start_signature: String,
    /// Results of the signature checks of the last 64 upgrades.
    pub upgrade_signatures: Vec<String>,
    /// Number of upgrade requests.
    pub upgrades: u64,
    /// Number of websockets with a valid token.
    pub attached: u64,
    /// Whether a websocket is attached now.
    pub is_attached: bool,
    /// Number of websockets lost for any reason.
    pub lost: u64,
    /// Number of websockets broken because a message was too long or the rate too high.
    pub cut_off: u64,
    /// Number of tokens returned by ResumeSession.
    pub resumes: u64,
    /// Whether TerminateSession was called for the session.
    pub terminate_called: bool,
    /// Version in OpenDataChannelInput.
    pub opening_version: String,
    /// Version in HandshakeResponse.
    pub handshake_version: String,

    /// When StartSession arrived.
    pub requested_us: u64,
    /// When the session was started.
    pub started_us: u64,
    /// When the first websocket opened the channel.
    pub connected_us: Option<u64>,
    /// When HandshakeComplete was sent.
    pub handshake_us: Option<u64>,
    /// When the agent began to acknowledge data.
    pub ready_us: Option<u64>,
    /// When the first data arrived.
    pub first_input_us: Option<u64>,
    /// When the session ended.
    pub ended_us: Option<u64>,
    /// Injected delay of StartSession.
    pub api_delay_us: u64,
    /// Time from HandshakeComplete to readiness.
    pub readiness_us: Option<u64>,
    /// Duration of the first dial.
    pub first_dial_us: Option<u64>,

    /// The agent has processed the TerminateSession flag.
    #[serde(skip)]
    pub(super) has_flag: bool,
    /// Cause of the end.
    pub ended_by: Option<EndedBy>,
    /// Text of `channel_closed`.
    pub output: String,
    /// Counters of the agent.
    pub traffic: Traffic,
    /// Protocol violations of the client, and how often each occurred.
    pub violations: BTreeMap<String, u64>,
}

impl SessionRecord {
    /// Returns true if the session has not ended.
    pub fn is_open(&self) -> bool {
        self.ended_us.is_none()
    }
}

impl SessionRecord {
    /// Records an upgrade request.
    pub(super) fn record_upgrade(&mut self, signature: &str) {
        self.upgrades += 1;
        if self.upgrade_signatures.len() >= MAX_SIGNATURES {
            self.upgrade_signatures.remove(0);
        }
        self.upgrade_signatures.push(signature.to_owned());
    }
}

/// Counters of one session; see [`agent::Stats`](super::agent::Stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Sequenced messages consumed from the client.
    pub messages_in: u64,
    /// Output bytes in these messages.
    pub bytes_in: u64,
    /// Messages received again.
    pub duplicates_in: u64,
    /// Messages that the agent processed but could not acknowledge.
    pub unacknowledged_in: u64,
    /// Messages that arrived early.
    pub early_in: u64,
    /// Acknowledgements from the client.
    pub acknowledgements_in: u64,
    /// Sequenced messages to the client, without retransmissions.
    pub messages_out: u64,
    /// Output bytes in these messages.
    pub bytes_out: u64,
    /// Messages retransmitted by the agent.
    pub retransmitted: u64,
    /// Messages not acknowledged by the client.
    pub unacknowledged: u64,
    /// Dials of the agent.
    pub dials: u64,
    /// Failed dials.
    pub dials_failed: u64,
    /// Connections to destinations that are open now.
    pub open_connections: u64,
    /// Messages to the client that were discarded while no client was attached.
    pub discarded: u64,
    /// Messages from the client that were discarded while the agent's own websocket was down.
    pub discarded_in: u64,
    /// Maximum number of sequenced messages from the client in any second.
    pub peak_rate_in: u32,
}

/// Cause of a session's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The TerminateSession flag on the data channel.
    Flag,
    /// The TerminateSession API.
    Api,
    /// Session Manager, after the idle timeout.
    Idle,
    /// The agent, successfully: its only destination ended (SSH).
    Agent,
    /// The agent, with a failure.
    AgentFailure,
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Increments the count of `key`. Beyond [`MAX_KEYS`] new keys are counted as `other`, because
/// clients can invent them.
fn count(counts: &mut BTreeMap<String, u64>, key: &str) {
    let key = match counts.len() < MAX_KEYS || counts.contains_key(key) {
        true => key,
        false => "other",
    };
    *counts.entry(key.to_owned()).or_default() += 1;
}

/// Maximum number of upgrade signatures kept per session.
const MAX_SIGNATURES: usize = 64;
/// Maximum number of records kept.
const MAX_RECORDS: usize = 20_000;
/// Maximum number of distinct operations, outcomes or signatures.
const MAX_KEYS: usize = 64;
/// Maximum number of pushed keys kept.
const MAX_PUSHED_KEYS: usize = 64;
