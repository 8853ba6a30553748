//! Updates of the session's record.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::agent::{End, Outcome, Violation};
use super::super::records::{EndedBy, Traffic, micros};
use super::Session;

impl Session {
    pub(super) fn record_attached(&self) {
        let at = self.service.ledger.micros(self.now);
        let mut record = self.record.lock();
        record.attached += 1;
        record.is_attached = true;
        record.connected_us.get_or_insert(at);
    }

    pub(super) fn record_lost(&self) {
        let mut record = self.record.lock();
        record.is_attached = false;
        record.lost += 1;
    }

    pub(super) fn record_cut_off(&self) {
        self.record.lock().cut_off += 1;
    }

    pub(super) fn record_dial(&self, took: Duration) {
        self.record
            .lock()
            .first_dial_us
            .get_or_insert_with(|| micros(took));
    }

    /// Records that the agent has processed the flag; called before its acknowledgement is sent.
    pub(super) fn record_flag(&self) {
        if self.agent.is_terminated_by_flag() {
            self.record.lock().has_flag = true;
        }
    }

    pub(super) fn record_end(&self, end: &End) {
        let at = self.service.ledger.micros(self.now);
        let how = match end.outcome {
            Outcome::Success if self.agent.is_terminated_by_flag() => EndedBy::Flag,
            Outcome::Success => EndedBy::Agent,
            Outcome::Failed => EndedBy::AgentFailure,
        };
        self.record.end(at, how, &end.output);
        self.service.close(&self.spec.session_id);
    }

    /// Copies the state of the agent into the record.
    pub(super) fn record(&self) {
        let (stats, timeline) = (self.agent.stats(), self.agent.timeline());
        let at = |at: Option<Instant>| at.map(|at| self.service.ledger.micros(at));
        let mut record = self.record.lock();
        record.handshake_us = at(timeline.complete);
        record.ready_us = at(timeline.ready);
        record.first_input_us = at(timeline.first_input);
        record.readiness_us = timeline.readiness().map(micros);
        if record.handshake_version.is_empty() {
            let version = self.agent.client_version();
            version.clone_into(&mut record.handshake_version);
        }
        if !stats.violations.is_empty() || self.unexpected > 0 {
            record.violations = self.violations();
        }
        record.traffic = self.traffic();
    }

    fn violations(&self) -> BTreeMap<String, u64> {
        let seen = self.agent.stats().violations.iter();
        let mut violations: BTreeMap<_, _> = seen.map(|(v, n)| (v.to_string(), *n)).collect();
        if self.unexpected > 0 {
            let unexpected = Violation::UnexpectedKind.to_string();
            *violations.entry(unexpected).or_default() += self.unexpected;
        }
        violations
    }

    fn traffic(&self) -> Traffic {
        let stats = self.agent.stats();
        Traffic {
            messages_in: stats.messages_in,
            bytes_in: stats.bytes_in,
            duplicates_in: stats.duplicates_in,
            unacknowledged_in: stats.unacknowledged_in,
            early_in: stats.early_in,
            acknowledgements_in: stats.acknowledgements_in,
            messages_out: stats.messages_out,
            bytes_out: stats.bytes_out,
            retransmitted: stats.retransmitted,
            unacknowledged: count(self.agent.unacknowledged()),
            dials: stats.dials,
            dials_failed: stats.dials_failed,
            open_connections: count(self.connections.len()),
            discarded: self.discarded,
            discarded_in: self.discarded_in,
            peak_rate_in: self.rate.peak(),
        }
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
