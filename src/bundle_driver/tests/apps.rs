//! What clients and destinations do with their flows, and what they see.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::sleep;

use crate::bundle::ids::FlowId;
use crate::bundle_driver::{Flow, FlowRead};

/// Plan of one end of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Bytes to write before the end.
    pub(super) total: u64,
    /// Bytes of one write, and of one read.
    pub(super) piece: usize,
    /// Time between reads.
    pub(super) read_pause: Duration,
    /// Time between writes.
    pub(super) write_pause: Duration,
    /// When the flow is reset here.
    pub(super) reset_after: Option<Duration>,
}

/// What one end of a flow has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) plan: Plan,
    pub(super) read: u64,
    /// It wrote everything and the end.
    pub(super) has_finished: bool,
    pub(super) has_read_end: bool,
    /// It reset the flow.
    pub(super) has_reset: bool,
    /// It saw a reset that was not its own.
    pub(super) is_reset: bool,
}

impl Seen {
    /// Returns how it has ended.
    pub(super) fn name(&self) -> &'static str {
        match (self.has_reset, self.is_reset) {
            (true, _) => "reset here",
            (false, true) => "reset by the other end",
            (false, false) => "complete",
        }
    }
}

impl Plan {
    pub(super) fn random(random: &mut fastrand::Rng) -> Self {
        let magnitude = random.u32(1..19);
        let total = random.u64(0..1 << magnitude);
        let pause = |random: &mut fastrand::Rng| match random.u32(0..4) {
            0 => Duration::from_millis(random.u64(1..300)),
            _ => Duration::ZERO,
        };
        Self {
            total,
            piece: random.usize(1_000..70_000),
            read_pause: pause(random),
            write_pause: pause(random),
            reset_after: (random.u32(0..8) == 0)
                .then(|| Duration::from_millis(random.u64(0..10_000))),
        }
    }
}

/// Uses one end of a flow (0: daemon, 1: relay), and drops it.
pub(super) async fn use_flow(flow: Flow, side: u64, plan: Plan) -> Seen {
    let read = AtomicU64::new(0);
    let reading = async {
        loop {
            match flow.read(plan.piece).await {
                FlowRead::Data(bytes) => {
                    for (at, byte) in (read.load(Relaxed)..).zip(&bytes) {
                        let expected = content(flow.id(), 1 - side, at);
                        assert_eq!(*byte, expected, "{:?} at {at}", flow.id());
                    }
                    read.fetch_add(bytes.len() as u64, Relaxed);
                    pause(plan.read_pause).await;
                }
                FlowRead::End => return true,
                FlowRead::Reset => return false,
            }
        }
    };
    let reset = async {
        match plan.reset_after {
            Some(time) => sleep(time).await,
            None => pending().await,
        }
    };
    let has_finished = AtomicBool::new(false);
    let writing = async {
        let is_written = write(&flow, side, plan).await;
        has_finished.store(is_written, Relaxed);
    };
    let (has_read_end, has_reset) = tokio::select! {
        ((), has_read_end) = async { tokio::join!(writing, reading) } => (has_read_end, false),
        () = reset => {
            flow.reset();
            (false, true)
        }
    };
    let has_finished = has_finished.into_inner();
    Seen {
        plan,
        read: read.load(Relaxed),
        has_finished,
        has_read_end,
        has_reset,
        is_reset: !(has_reset || has_finished && has_read_end),
    }
}

/// Writes everything and the end. Returns false if the flow is reset before.
async fn write(flow: &Flow, side: u64, plan: Plan) -> bool {
    let mut written = 0;
    while written < plan.total {
        let len = (plan.total - written).min(plan.piece as u64);
        let bytes = (written..written + len).map(|at| content(flow.id(), side, at));
        let Ok(taken) = flow.write(&bytes.collect::<Vec<u8>>()).await else {
            return false;
        };
        written += taken as u64;
        pause(plan.write_pause).await;
    }
    flow.finish();
    true
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// The byte at an offset of a direction of a flow.
#[expect(clippy::cast_possible_truncation, reason = "any byte will do")]
fn content(id: FlowId, side: u64, at: u64) -> u8 {
    let mixed = at.wrapping_mul(0x9e37_79b9) ^ u64::from(id.0) << 3 ^ side << 7;
    (mixed ^ mixed >> 17) as u8
}
