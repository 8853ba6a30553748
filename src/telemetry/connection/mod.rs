//! Record of a connection that has ended: what the access log and the metrics need.

mod end_reason;
mod stage;

use std::time::Duration;

pub use self::end_reason::{EndReason, Party};
pub use self::stage::{Phase, Stage, StageTimes};
use crate::error_class::ErrorClass;
use crate::printable::Printable;

/// Record of one accepted connection that has ended. Each has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRecord {
    /// Number of the connection, unique in this process.
    pub id: u64,
    /// Why it ended.
    pub reason: EndReason,
    /// Phase in which it ended.
    pub phase: Phase,
    /// Class of the failure, if it failed.
    pub class: Option<ErrorClass>,
    /// Bytes of the client that were passed on.
    pub sent: u64,
    /// Bytes of the destination that were written to the client.
    pub received: u64,
    /// Time from accept to the end.
    pub duration: Duration,
    /// Time that the connection spent in each stage that it reached.
    pub stages: StageTimes,
    /// Number of times its session was resumed.
    pub resumes: u32,
    /// The longest time without a working websocket.
    pub longest_stall: Duration,
    /// The client.
    pub peer: Printable,
    /// The managed node, as configured.
    pub target: Printable,
    /// The node that runs the agent, once its session has started.
    pub node: Option<Printable>,
    /// The destination: as reported by the agent, else as configured.
    pub destination: Printable,
    /// Session id, if it had a session.
    pub session: Option<Printable>,
    /// Error message, if it failed.
    pub error: Option<Printable>,
    /// Suggested action; empty if there is none.
    pub hint: Printable,
    /// The protocol of the error message that was sent to the client, if one was.
    pub explained: Option<&'static str>,
}

impl ConnectionRecord {
    /// Returns true if bytes were transferred.
    pub fn has_bytes(&self) -> bool {
        self.sent > 0 || self.received > 0
    }
}
