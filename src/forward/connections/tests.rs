//! What is recorded if the task of a connection is aborted.

use tokio::sync::watch;

use super::*;
use crate::forward::ShutdownPhase;
use crate::telemetry::EndReason;

fn table() -> Arc<ConnectionTable> {
    let text =
        "[[forward]]\nname = \"f\"\nlisten = 0\ntarget = \"i-0123456789abcdef0\"\nremote = 22\n";
    let settings = config::parse(text).unwrap().forwards.remove(0);
    let table = ConnectionTable::new(Arc::default(), Arc::new(settings), Arc::default(), None);
    Arc::new(table)
}

/// Returns the reason of a connection that is dropped in this phase.
fn dropped_in(phase: ShutdownPhase) -> EndReason {
    let (_sender, stop) = watch::channel(phase);
    dropped(stop)
}

fn dropped(stop: watch::Receiver<ShutdownPhase>) -> EndReason {
    let table = table();
    drop(table.add(Peer::Stdio, ShutdownWatch::new(stop)));
    let ends = table.metrics.totals.ends();
    assert_eq!(ends.values().sum::<u64>(), 1);
    *ends.keys().next().unwrap()
}

#[test]
fn a_connection_that_is_aborted_by_a_stop_was_stopped() {
    for phase in [
        ShutdownPhase::Draining,
        ShutdownPhase::ClosingIdle,
        ShutdownPhase::Aborting,
    ] {
        assert_eq!(dropped_in(phase), EndReason::Stopped, "{phase:?}");
    }
    let (sender, stop) = watch::channel(ShutdownPhase::Running);
    drop(sender);
    assert_eq!(dropped(stop), EndReason::Stopped, "the daemon is gone");
}

#[test]
fn a_connection_that_is_aborted_without_a_stop_is_an_internal_error() {
    for phase in [ShutdownPhase::Running, ShutdownPhase::Released] {
        assert_eq!(dropped_in(phase), EndReason::InternalError, "{phase:?}");
    }
}

#[test]
fn a_connection_that_is_dropped_by_a_panic_is_an_internal_error() {
    let table = table();
    let (_sender, stop) = watch::channel(ShutdownPhase::Aborting);
    let tracked = table.add(Peer::Stdio, ShutdownWatch::new(stop));

    let panicked = std::thread::spawn(move || {
        let _tracked = tracked;
        panic!("on purpose");
    });

    assert!(panicked.join().is_err());
    let ends = table.metrics.totals.ends();
    assert_eq!(ends.get(&EndReason::InternalError), Some(&1));
}

#[test]
fn an_upload_that_a_stop_cuts_is_incomplete() {
    let table = table();
    let (_sender, stop) = watch::channel(ShutdownPhase::Aborting);
    let tracked = table.add(Peer::Stdio, ShutdownWatch::new(stop));
    assert_eq!(table.with_client(), 1);
    tracked.active().set_phase(Phase::Flushing);
    assert_eq!(table.with_client(), 0);

    drop(tracked);

    let ends = table.metrics.totals.ends();
    assert_eq!(ends.get(&EndReason::UploadIncomplete), Some(&1));
}
