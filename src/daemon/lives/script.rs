//! The script of a life: what the daemon serves, and what happens to it, at which time. A seed makes
//! a script; its text can be read back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The script of one life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// Decides everything that is random in the life.
    pub(super) seed: u64,
    pub(super) events: Vec<Timed>,
}

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Timed {
    /// Milliseconds from the start of the daemon.
    pub(super) at: u64,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// Something that happens to the daemon. Durations are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    Client(ClientSpec),
    /// All websockets break.
    Websockets(Break),
    /// Each websocket closes at once, as if its token were invalid.
    WebsocketsUnstable(u64),
    /// The network to AWS breaks all connections.
    NetworkCut,
    /// The network to AWS is a black hole.
    NetworkSilent(u64),
    /// AWS refuses connections.
    NetworkRefused(u64),
    /// The machine is suspended: its wall clock jumps, and its websockets are dead.
    MachineSleeps(u64),
    /// All workers of the agent crash.
    AgentCrash,
    /// The agent's own websocket is down.
    AgentAway(u64),
    /// The agent of the target is offline for new sessions.
    Offline(u64),
    /// `pause_publication` is sent to the client so many times, every seven seconds.
    Pauses(u32),
    /// So many calls fail with a code.
    CallsFail(Call, Code, u32),
    /// All StartSession calls are throttled.
    Throttled(u64),
    /// The responses to so many StartSession calls are lost.
    ResponsesLost(u32),
    /// So many upgrades are rejected with a status.
    UpgradesRefused(u16, u32),
    /// The credential provider misbehaves.
    Provider(Provider, u64),
    /// New credentials expire after this time.
    CredentialsExpire(u64),
    /// The destination accepts no connections, and moves no bytes.
    DestinationSilent(u64),
    /// The destination refuses connections.
    DestinationRefused(u64),
    /// The configuration file is replaced by another variant, and read again.
    Reload(u8),
    /// The configuration file becomes invalid, and is read again.
    BadReload,
    /// SIGUSR1.
    DumpConnections,
    /// SIGUSR2.
    RetryNow,
    /// A task panics at its next pass through a point.
    Panic(Point),
    DiskFull(u64),
    DiskSlow(u64),
    /// The process is killed, and started again.
    Kill,
    /// The process is stopped, and started again.
    Restart(Stop),
    /// A command over the admin socket.
    Admin(AdminCommand),
}

/// How a process is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stop {
    /// SIGTERM.
    Signal,
    /// SIGTERM, and again a second later.
    Signals,
    /// `stop`.
    Command,
    /// `stop --now`.
    CommandNow,
}

/// A client of the admin socket, besides `stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AdminCommand {
    Status,
    /// The status of the first forward.
    Forward,
    /// Resets a connection, if there is one of this number.
    Close(u64),
    Log,
    Reload,
    Invalid,
    /// Connects and sends nothing.
    Silent,
}

/// How websockets break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Break {
    /// With code 1000, as every hour.
    Close,
    Fin,
    Reset,
    BlackHole,
}

/// A call of the SSM API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    Start,
    Resume,
    Terminate,
}

/// An error code of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    Throttling,
    Internal,
    ExpiredToken,
    AccessDenied,
}

/// What the credential provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Provider {
    Hangs,
    Fails,
    Slow,
}

/// Where a panic is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Point {
    Http,
    Daemon,
    Tunnel,
    TunnelCore,
    TerminateSession,
    StartSession,
    Dispatcher,
    AcceptLoop,
    Supplier,
    Connection,
}

/// A client of a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClientSpec {
    /// Index of the forward.
    pub(super) forward: u8,
    pub(super) temper: Temper,
    /// Bytes that the client sends, and that the destination sends.
    pub(super) up: u32,
    pub(super) down: u32,
}

/// The behaviour of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Temper {
    /// Sends its request, then reads the response.
    Request,
    /// Sends all at once, and reads at the same time.
    Bulk,
    /// Idle for a long time between the halves of its request.
    Idle,
    /// Ends its direction after the request.
    HalfClose,
    /// Closes in the middle.
    Vanish,
    /// Resets in the middle.
    Reset,
    /// Reads a little now and then.
    SlowReader,
    /// Reads nothing, and leaves after a while.
    NeverReads,
    /// Sends one byte at a time.
    OneByte,
    /// Sends a little each second.
    Trickle,
    /// Connects, sends nothing, and leaves after a while.
    Mute,
}

impl ClientSpec {
    /// Returns true if the client leaves bytes unread, so that they may stop its websocket.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self.temper, Temper::NeverReads | Temper::SlowReader)
    }

    /// Returns for how long the client is idle in its request.
    pub(super) fn idle_time(&self) -> Duration {
        match self.temper {
            Temper::Idle => Duration::from_secs(60 + u64::from(self.up ^ self.down) % MAX_IDLE),
            Temper::Request
            | Temper::Bulk
            | Temper::HalfClose
            | Temper::Vanish
            | Temper::Reset
            | Temper::SlowReader
            | Temper::NeverReads
            | Temper::OneByte
            | Temper::Trickle
            | Temper::Mute => Duration::ZERO,
        }
    }
}

impl Point {
    /// Returns the name in [`crate::panics::point`].
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Daemon => "daemon",
            Self::Tunnel => "tunnel",
            Self::TunnelCore => "tunnel-core",
            Self::TerminateSession => "terminate-session",
            Self::StartSession => "start-session",
            Self::Dispatcher => "dispatcher",
            Self::AcceptLoop => "accept-loop",
            Self::Supplier => "supplier",
            Self::Connection => "connection",
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for event in &self.events {
            writeln!(
                f,
                "{}",
                serde_json::to_string(event).map_err(|_| fmt::Error)?
            )?;
        }
        Ok(())
    }
}

impl FromStr for Script {
    type Err = Box<dyn std::error::Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let first = lines.next().unwrap_or_default();
        let seed = first
            .trim()
            .strip_prefix("seed ")
            .ok_or("expected: seed N")?;
        let events = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Self {
            seed: seed.parse()?,
            events,
        })
    }
}

/// Maximum idle time in seconds, after the first minute.
const MAX_IDLE: u64 = 1200;

/// Number of forwards; see `world.rs`.
pub(super) const FORWARDS: u8 = 4;
