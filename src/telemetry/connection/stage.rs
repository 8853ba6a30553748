//! The stages between accept and the first byte, and the phases of a connection.

use std::time::Duration;

/// A stage between accept and the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Waiting for a limit of connections, the lookup of the target, the rate limit of StartSession, or
    /// a slot on a session.
    Queued,
    /// Waiting for AWS credentials.
    Credentials,
    /// StartSession.
    StartSession,
    /// Connecting the websocket.
    Websocket,
    /// The agent's handshake.
    Handshake,
    /// From the handshake until the agent is ready for data.
    Ready,
    /// From the open stream to the first byte of the destination.
    FirstByte,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Credentials,
        Self::StartSession,
        Self::Websocket,
        Self::Handshake,
        Self::Ready,
        Self::FirstByte,
    ];

    /// Returns the name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Credentials => "credentials",
            Self::StartSession => "start_session",
            Self::Websocket => "websocket",
            Self::Handshake => "handshake",
            Self::Ready => "ready",
            Self::FirstByte => "first_byte",
        }
    }
}

/// Phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no stream yet; the stage that it is waiting for.
    Connecting(Stage),
    /// Bytes are carried both ways.
    Open,
    /// The client has closed its sending direction.
    HalfClosed,
    /// The client has closed, and the rest of its bytes is being delivered.
    Flushing,
}

impl Phase {
    /// Returns the name in logs and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting(stage) => stage.name(),
            Self::Open => "open",
            Self::HalfClosed => "half_closed",
            Self::Flushing => "flushing",
        }
    }
}

/// Time that a connection spent in each stage. Zero if the stage of its session was over before, as
/// for a warm session; `None` if it was not reached. The stages up to `Ready` add up to the time
/// from accept to the open stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes([Option<Duration>; Stage::ALL.len()]);

impl StageTimes {
    /// Sets the time of a stage.
    pub fn set(&mut self, stage: Stage, time: Duration) {
        self.0[stage as usize] = Some(time);
    }

    /// Returns the time of a stage.
    pub fn get(&self, stage: Stage) -> Option<Duration> {
        self.0[stage as usize]
    }

    /// Returns the stages that were reached, and their times.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        let stages = Stage::ALL.into_iter();
        stages.filter_map(|stage| Some((stage, self.get(stage)?)))
    }
}
