//! Record of a tunnel in the pool task, and the step it waits for.

use std::time::Instant;

use tokio::task::AbortHandle;

use super::error::ConnectFailure;
use super::session_table::TabledSession;
use crate::printable::Printable;
use crate::session::{Priority, StartStage};
use crate::tunnel::{Step, Tunnel};

/// A tunnel that is being established, or is ready.
#[derive(Debug)]
pub(super) struct TunnelRecord {
    pub(super) priority: Priority,
    pub(super) task: AbortHandle,
    /// What its start waits for.
    pub(super) stage: StartStage,
    pub(super) session: TabledSession,
    /// Set once it has a session.
    pub(super) tunnel: Option<Tunnel>,
    /// When its websocket broke, until another one works.
    pub(super) disconnected: Option<Instant>,
}

/// Returns the step that the next tunnel to become ready is waiting for. `throttled` is the error
/// of the last throttled call, if calls are still throttled.
pub(super) fn step<'a>(
    mut tunnels: impl Iterator<Item = &'a TunnelRecord>,
    throttled: Option<&ConnectFailure>,
) -> Step {
    let opening = tunnels.find(|record| match &record.tunnel {
        Some(tunnel) => tunnel.is_opening(),
        None => true,
    });
    let stage = match opening {
        Some(TunnelRecord {
            tunnel: Some(tunnel),
            ..
        }) => return tunnel.step(),
        Some(record) => record.stage,
        None => StartStage::RateLimit,
    };
    match (stage, throttled) {
        (StartStage::Resolving, _) => {
            Step::of("DescribeInstanceInformation (target lookup by tags)")
        }
        (StartStage::FindingTask, Some(failure)) => Step {
            name: Printable::of(format_args!("the rate limit of ECS ({failure})")),
            hint: "AWS limits the rate of ListTasks and DescribeTasks for the whole account; open fewer connections at once",
        },
        (StartStage::FindingTask, None) => {
            Step::of("ListTasks and DescribeTasks (lookup of a task in ECS)")
        }
        (StartStage::Credentials, _) => Step::of("AWS credentials"),
        (StartStage::Calling, _) => Step::of("StartSession"),
        (StartStage::RateLimit, Some(failure)) => Step {
            name: Printable::of(format_args!("the rate limit of StartSession ({failure})")),
            hint: "AWS limits the rate of this call for the whole account; open fewer connections at once",
        },
        (StartStage::RateLimit, None) => Step {
            name: "the rate limit of StartSession".into(),
            hint: "`session_start_rate` in [limits] delays it; raise it, or open sessions in advance with `warm`",
        },
    }
}
