//! What a daemon says of itself when it is asked, as data that travels as JSON.

use serde::{Deserialize, Serialize};

use crate::printable::Printable;

/// A daemon and its forwards at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of the program that runs.
    pub version: Printable,
    /// Of its process.
    pub pid: u32,
    /// Since it was ready, in seconds.
    pub uptime_seconds: u64,
    /// Whether it accepts nothing more and waits for open connections.
    pub stopping: bool,
    /// Whether the accept loops answer.
    pub alive: bool,
    /// Reloads that changed what the file said to change.
    pub reloads: u64,
    /// Reloads that changed nothing, because something was wrong.
    pub failed_reloads: u64,
    /// Panics, each of which is a bug.
    #[serde(default)]
    pub internal_errors: u64,
    /// What the log lets through, as a filter.
    pub log: Printable,
    /// Lines of the log that were lost because nobody read them.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// Connections that have a session, those of forwards that are gone included.
    pub connections: usize,
    /// `[http]` and `[admin]`, where they cannot be bound; they are tried again.
    #[serde(default)]
    pub failing_servers: Vec<FailingServer>,
    /// The forwards of the configuration, in the order of the file.
    pub forwards: Vec<ForwardReport>,
    /// Forwards that were removed or replaced, and still have connections.
    pub finishing: Vec<Finishing>,
}

/// A server of the daemon that cannot be bound now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingServer {
    /// The table of the configuration: `http` or `admin`.
    pub server: Printable,
    /// Why.
    pub error: Printable,
    /// What to do about it.
    pub hint: Printable,
}

/// A forward at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardReport {
    /// Its name.
    pub name: Printable,
    /// Where it listens, or is to listen.
    pub listen: Vec<Listening>,
    /// The managed node.
    pub target: Printable,
    /// What the agent dials.
    pub remote: Printable,
    /// How it does.
    pub state: ForwardState,
    /// Connections that have a session.
    pub connections: usize,
    /// Connections that have none yet.
    pub waiting: usize,
    /// Connections that were accepted since it runs.
    pub accepted: u64,
    /// Bytes that were taken from clients since it runs.
    pub sent: u64,
    /// Bytes that were given to clients since it runs.
    pub received: u64,
    /// Sessions that can carry bytes.
    pub sessions: usize,
    /// Of these, such as wait for a connection.
    pub sessions_ready: usize,
    /// Sessions that AWS has started since it runs.
    pub sessions_started: u64,
    /// Attempts at a session that could carry bytes, and came to nothing.
    pub sessions_failed: u64,
    /// Sessions that went on over another websocket after theirs broke.
    pub resumes: u64,
    /// Why it fails, if it does.
    pub trouble: Option<TroubleReport>,
}

/// An address on which a forward listens, as a client would write it.
pub type Listening = Printable;

/// How a forward does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardState {
    /// It listens, and nothing is known to be wrong.
    Ready,
    /// It listens, and the first of the sessions that it shall keep ready is under way.
    Warming,
    /// It cannot start and is retried, or the last session that was tried did not come up.
    Failing,
    /// It accepts nothing more, for the daemon stops.
    Stopping,
    /// The configuration says that it is not served.
    Disabled,
}

impl ForwardState {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Warming => "warming",
            Self::Failing => "failing",
            Self::Stopping => "stopping",
            Self::Disabled => "disabled",
        }
    }
}

/// Why a forward cannot start, or its sessions do not come up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleReport {
    /// What is wrong, in a word.
    pub word: Printable,
    /// In a sentence.
    pub error: Printable,
    /// What to do about it; empty if nothing.
    pub hint: Printable,
    /// Since when, in seconds.
    pub since_seconds: u64,
    /// How long ago it was seen last, in seconds.
    pub seen_seconds: u64,
}

/// A forward that accepts nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finishing {
    /// Its name.
    pub name: Printable,
    /// Connections that it still has.
    pub connections: usize,
}
