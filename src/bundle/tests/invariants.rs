//! What holds for one end at all times.

use std::collections::BTreeMap;

use crate::bundle::Bundle;
use crate::bundle::limits::{
    BUNDLE_CREDIT, MAX_FLIGHT, MAX_FLIGHT_RECORDS, MAX_KEPT, MAX_KNOWN_FLOWS, MAX_STRIPES,
    MAX_UNSENT, RECORD_WINDOW,
};
use crate::bundle::stripe::Sent;

/// Asserts bounds of memory, and that no record and no byte is forgotten.
pub(super) fn check(bundle: &Bundle) {
    check_flows(bundle);
    check_records(bundle);
    assert!(bundle.stripes.len() <= MAX_STRIPES);
    assert!(bundle.last_bytes.len() <= MAX_STRIPES);
    assert!(bundle.received.ranges() as u64 <= RECORD_WINDOW);
    assert!(bundle.known_flows.ranges() as u64 <= RECORD_WINDOW);
}

fn check_flows(bundle: &Bundle) {
    let flows = bundle.flows.values();
    let received: usize = flows.clone().map(|flow| flow.inbound.len()).sum();
    let unsent: usize = flows.clone().map(|flow| flow.outbound.queue.len()).sum();
    let pieces: usize = flows.clone().map(|flow| flow.inbound.fragments()).sum();
    assert!(received as u64 <= BUNDLE_CREDIT, "{received}");
    assert!(2 * unsent <= 9 * MAX_UNSENT, "{unsent}");
    assert!(pieces == bundle.fragments && pieces as u64 <= RECORD_WINDOW + 1);
    assert!(bundle.flows.len() <= MAX_KNOWN_FLOWS);
    assert!(bundle.queues.len() <= 2 * bundle.flows.len());
    for (id, flow) in &bundle.flows {
        assert!(
            !flow.has_control() || flow.is_control_queued || bundle.is_ended(),
            "{id:?}"
        );
        assert!(
            !flow.has_data() || flow.is_data_queued || bundle.is_ended(),
            "{id:?}"
        );
    }
}

fn check_records(bundle: &Bundle) {
    let mut holders = BTreeMap::new();
    for stripe in bundle.stripes.values() {
        let bytes = stripe.records.iter().map(|sent| sent.len);
        assert_eq!(stripe.flight, bytes.sum::<u64>());
        assert!(stripe.flight <= MAX_FLIGHT + 16384 && stripe.records.len() <= MAX_FLIGHT_RECORDS);
        let unsent = |sent: &Sent| sent.mark.is_none();
        assert!(stripe.records.iter().skip(stripe.sent).all(unsent));
        for sent in stripe.records.iter().filter(|sent| sent.is_held) {
            *holders.entry(sent.number).or_insert(0) += 1;
        }
    }
    let (records, bytes) = bundle.ledger.load();
    assert!(records as u64 <= RECORD_WINDOW && bytes < MAX_KEPT + 65536);
    for (number, held, is_resent) in bundle.ledger.holders() {
        assert_eq!(holders.get(&number).copied().unwrap_or(0), held, "{number}");
        assert_eq!(is_resent, held == 0, "{number}");
    }
}
