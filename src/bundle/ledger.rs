//! The records that were numbered and are not acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::FlowId;
use super::limits::{MAX_KEPT, RECORD_WINDOW};
use super::record::{HEADER, Record};

/// A record that may have to be sent again.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) flow: FlowId,
    pub(super) record: Record,
    /// On how many stripes it is queued or sent that are not given up.
    holders: u32,
}

impl Kept {
    /// Returns the length of the record, in bytes.
    pub(super) fn len(&self) -> usize {
        HEADER + self.record.body_len()
    }
}

/// All records that are not acknowledged, by number.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    kept: BTreeMap<u64, Kept>,
    /// How many of them each flow has, if any.
    of_flow: BTreeMap<FlowId, u32>,
    /// Numbers of records that no stripe holds.
    resend: BTreeSet<u64>,
    /// Highest number used.
    last: u64,
    bytes: u64,
}

impl Ledger {
    /// Returns true if a new record may be numbered.
    pub(super) fn has_room(&self) -> bool {
        let first = self.kept.keys().next().copied();
        first.is_none_or(|first| self.last + 1 - first < RECORD_WINDOW) && self.bytes < MAX_KEPT
    }

    /// Numbers a record, which one stripe holds.
    pub(super) fn add(&mut self, flow: FlowId, record: Record) -> u64 {
        self.last += 1;
        let kept = Kept {
            flow,
            record,
            holders: 1,
        };
        self.bytes += kept.len() as u64;
        *self.of_flow.entry(flow).or_default() += 1;
        self.kept.insert(self.last, kept);
        self.last
    }

    pub(super) fn get(&self, number: u64) -> Option<&Kept> {
        self.kept.get(&number)
    }

    /// Removes an acknowledged record.
    pub(super) fn acknowledge(&mut self, number: u64) -> Option<Kept> {
        let kept = self.kept.remove(&number)?;
        self.resend.remove(&number);
        self.bytes -= kept.len() as u64;
        if let Some(count) = self.of_flow.get_mut(&kept.flow) {
            *count -= 1;
            if *count == 0 {
                self.of_flow.remove(&kept.flow);
            }
        }
        Some(kept)
    }

    /// Returns the first record if its number is at most `number`.
    pub(super) fn first_up_to(&self, number: u64) -> Option<u64> {
        let first = self.kept.keys().next().copied();
        first.filter(|first| *first <= number)
    }

    /// A stripe no longer holds a record. It is sent again if no other stripe does.
    pub(super) fn release(&mut self, number: u64) {
        let Some(kept) = self.kept.get_mut(&number) else {
            return;
        };
        kept.holders -= 1;
        if kept.holders == 0 {
            self.resend.insert(number);
        }
    }

    /// Returns the number and length of the next record to send again.
    pub(super) fn next_resend(&self) -> Option<(u64, usize)> {
        let number = *self.resend.first()?;
        Some((number, self.kept.get(&number)?.len()))
    }

    /// A stripe holds a record that is sent again.
    pub(super) fn hold(&mut self, number: u64) {
        self.resend.remove(&number);
        if let Some(kept) = self.kept.get_mut(&number) {
            kept.holders += 1;
        }
    }

    /// Returns the highest number used.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Returns true if a record of a flow is kept.
    pub(super) fn keeps(&self, flow: FlowId) -> bool {
        self.of_flow.contains_key(&flow)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns each record: its number, how many stripes hold it, and if it is to be sent again.
    #[cfg(test)]
    pub(super) fn holders(&self) -> impl Iterator<Item = (u64, u32, bool)> {
        let entries = self.kept.iter();
        entries.map(|(number, kept)| (*number, kept.holders, self.resend.contains(number)))
    }

    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, u64) {
        let counts = self.of_flow.values().map(|count| *count as usize);
        assert_eq!(counts.sum::<usize>(), self.kept.len());
        (self.kept.len(), self.bytes)
    }
}
