//! Waits for the progress of a relayed connection.

use std::time::Duration;

use super::bundle_client::OpenFlow;
use super::connections::ActiveConnection;

/// Returns when the relay has received everything.
pub(super) async fn received(flow: &OpenFlow) {
    poll_until(|| flow.flow.is_received()).await;
}

pub(super) async fn poll_until(condition: impl Fn() -> bool) {
    let mut pause = FIRST_PAUSE;
    while !condition() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Returns what changes while bytes move in either direction.
pub(super) fn movement(flow: &OpenFlow) -> impl PartialEq + use<> {
    (flow.flow.traffic(), flow.flow.progress())
}

/// Returns what changes while the destination takes bytes.
pub(super) fn upload_progress(flow: &OpenFlow) -> impl PartialEq + use<> {
    flow.flow.progress()
}

/// Returns when `progress` was unchanged for `idle` (accurate to 1/8 of it) while there was a stripe.
pub(super) async fn until_idle<T: PartialEq>(
    flow: &OpenFlow,
    progress: impl Fn(&OpenFlow) -> T,
    idle: Duration,
) {
    let mut before = progress(flow);
    let mut quiet_checks = 0;
    while quiet_checks < CHECKS_PER_TIMEOUT {
        tokio::time::sleep(idle / CHECKS_PER_TIMEOUT).await;
        let now = progress(flow);
        let is_quiet = now == before && flow.is_connected();
        quiet_checks = if is_quiet { quiet_checks + 1 } else { 0 };
        before = now;
    }
}

/// Returns when nothing has come from stdin for [`STDIN_QUIET`], or the flow has taken nothing for
/// `idle`.
pub(super) async fn until_quiet(flow: &OpenFlow, idle: Duration, active: &ActiveConnection) {
    let nothing_left = async {
        until_idle(flow, movement, STDIN_QUIET).await;
        while active.counters.read() != active.counters.sent() {
            until_idle(flow, movement, STDIN_QUIET).await;
        }
    };
    tokio::select! {
        () = nothing_left => {}
        () = until_idle(flow, movement, idle) => {}
    }
}

/// Returns when there were stripes for a time (accurate to 1/8 of it).
pub(super) async fn connected_for(flow: &OpenFlow, time: Duration) {
    let mut checks = 0;
    while checks < CHECKS_PER_TIMEOUT {
        tokio::time::sleep(time / CHECKS_PER_TIMEOUT).await;
        checks += u32::from(flow.is_connected());
    }
}

/// Pause between checks whether everything was received, initial and maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Checks for traffic per timeout.
const CHECKS_PER_TIMEOUT: u32 = 8;

/// After the destination has ended its direction, stdin is passed on until nothing moves for this
/// time.
const STDIN_QUIET: Duration = Duration::from_millis(500);
