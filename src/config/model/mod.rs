//! What a configuration means, once it makes sense.
//!
//! `check` is the only way to make these from what a person wrote, so whoever holds a [`Forward`]
//! need not ask whether its names, addresses and numbers are good. Programs that want one without
//! a file write the text and call [`parse`](crate::config::parse).

mod aws;
mod target;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use self::aws::NO_PROXY;
pub use self::aws::{Account, Aws, ClientVersion, Proxy};
pub use self::target::{Target, Targets};

/// Everything that a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How to reach AWS.
    pub aws: Aws,
    /// What the whole daemon may take.
    pub limits: Limits,
    /// How the daemon stops.
    pub shutdown: Shutdown,
    /// What is said, and how.
    pub log: Log,
    /// Where health and metrics are served; `None`: nowhere.
    pub http: Option<Http>,
    /// How commands reach the daemon.
    pub admin: Admin,
    /// The forwards, in the order of the file; at least one. Their names differ, and no two of
    /// them that are enabled, nor `http`, listen on one address.
    pub forwards: Vec<Forward>,
}

/// What the whole daemon may take, over all forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; at least 1.
    pub max_connections: usize,
    /// StartSession calls per second for each service; at least 1. Bursts are of four seconds' worth.
    pub session_start_rate: u32,
}

/// How the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long open connections may go on; zero: not at all.
    pub drain_timeout: Duration,
    /// Whether the file does not say so, and the whole stop is to fit into `drain_timeout`, because
    /// whoever asks for it waits for little longer: connections end earlier, so that there is time to
    /// end their sessions.
    pub includes_endings: bool,
}

/// Where health and metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; at least one address.
    pub listen: Vec<Listen>,
    /// Whether an address of `listen` may be other than loopback.
    pub allow_remote_clients: bool,
    /// The names by which clients call it, besides addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// How commands reach the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// An absolute path that fits into the address of a Unix socket; `None`: in the usual place.
    pub socket: Option<PathBuf>,
}

/// What is said, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// For whom lines are written.
    pub format: LogFormat,
    /// The least important lines that are written.
    pub level: LogLevel,
}

/// For whom lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For the journal if stderr is the journal, else for people.
    Auto,
    /// For people.
    Text,
    /// An object of JSON in each line.
    Json,
    /// For the journal, each field by itself.
    Journald,
}

impl LogFormat {
    /// As it is written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
            Self::Journald => "journald",
        }
    }
}

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What stopped and will not come back.
    Error,
    /// What a person may look at tomorrow.
    Warn,
    /// What the person who runs it would feel.
    Info,
    /// Decisions that differed from the ordinary path.
    Debug,
    /// Every message.
    Trace,
}

impl LogLevel {
    /// As it is written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How connections and sessions belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Every connection has one of its own.
    PerConnection {
        /// Sessions that are kept ready.
        warm: usize,
        /// One that is older is replaced, unused.
        warm_max_age: Duration,
    },
    /// Connections share one, as streams of its mux.
    Shared {
        /// Connections on one session; at least 1.
        max_streams: usize,
        /// A fresh session takes over after this; `None`: never.
        max_age: Option<Duration>,
    },
}

/// A configured rule: local address → target, host, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Unique; in logs, metrics and commands. 1 to 64 of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// Whether it is served. One that is not is only checked and shown.
    pub enabled: bool,
    /// Where it listens; at least one address.
    pub listen: Vec<Listen>,
    /// The permissions of its Unix sockets: at most 0o777, with a bit that lets someone connect.
    pub mode: u32,
    /// The managed node that runs the agent.
    pub target: Targets,
    /// What the agent dials.
    pub remote: Remote,
    /// Where and as whom AWS is called for it, if not as `[aws]` says.
    pub account: Account,
    /// The SSM document, if not the one that `remote` asks for; see [`Forward::document`].
    pub document: Option<String>,
    /// How its connections and sessions belong together.
    pub sessions: Sessions,
    /// Whether an open connection keeps its session from idling out.
    pub keep_alive: bool,
    /// From accept to a stream that can carry bytes.
    pub connect_timeout: Duration,
    /// How long a broken websocket may be replaced before its connection is given up; zero: not
    /// at all. At most an hour.
    pub resume_timeout: Duration,
    /// Quiet time after a local EOF before both directions are closed.
    pub half_close_timeout: Duration,
    /// How fast bytes go towards the agent.
    pub upload: Upload,
    /// Connections at once; at least 1.
    pub max_connections: usize,
    /// Whether an address of `listen` may be other than loopback.
    pub allow_remote_clients: bool,
    /// The line of the file with its `listen`, from 1.
    pub line: usize,
}

impl Forward {
    /// Whether the other does the same, wherever in the file it stands.
    pub fn is_same(&self, other: &Self) -> bool {
        let other = Self {
            line: self.line,
            ..other.clone()
        };
        *self == other
    }

    /// The SSM document that its sessions run: the one it names, else the one for its `remote`
    /// (protocol.md section 1.3).
    pub fn document(&self) -> &str {
        self.document
            .as_deref()
            .unwrap_or_else(|| self.remote.document())
    }
}

/// A local address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A port of both 127.0.0.1 and ::1; 0 is one free port, the same for both.
    Localhost(u16),
    /// One address; port 0 is a free one.
    Tcp(SocketAddr),
    /// A Unix socket: an absolute path that fits into its address.
    Unix(PathBuf),
    /// What the service manager has bound under this name (`FileDescriptorName=`).
    Systemd(String),
}

impl Listen {
    /// The port, if it has one; 0 stands for any that is free.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Localhost(port) => Some(*port),
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) | Self::Systemd(_) => None,
        }
    }

    /// The path, if it is a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Localhost(_) | Self::Tcp(_) | Self::Systemd(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Whether only programs of this machine can connect to it, as far as the file tells: where a
    /// socket of the service manager listens is seen when it is passed.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Localhost(_) | Self::Unix(_) | Self::Systemd(_) => true,
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// The destination: what the agent dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A port of the target itself.
    Port(u16),
    /// A port of a host that the target can reach.
    Host {
        /// A name, an IPv4 address, or an IPv6 address without brackets; never a loopback one.
        host: String,
        /// From 1.
        port: u16,
    },
}

impl Remote {
    /// The parameters of its document, by name.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Port(port) => vec![("portNumber", port.to_string())],
            Self::Host { host, port } => {
                vec![("host", host.clone()), ("portNumber", port.to_string())]
            }
        }
    }

    fn document(&self) -> &'static str {
        match self {
            Self::Port(_) => PORT_DOCUMENT,
            Self::Host { .. } => HOST_DOCUMENT,
        }
    }
}

/// As a person would write it: the port of the target itself is `localhost:PORT`, as in `ssh -L`.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "localhost:{port}"),
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// How fast bytes go towards the agent; the defaults are what the service bears
/// (protocol.md section 0.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Sequenced messages per second and session; 0 is no limit.
    pub rate: u32,
    /// Bytes of payload in a message.
    pub payload: usize,
    /// Bytes that may be unacknowledged; at least one payload.
    pub window: usize,
}

impl Default for Upload {
    fn default() -> Self {
        Self {
            rate: 900,
            payload: 1024,
            window: 256 * 1024,
        }
    }
}

/// Dials a port of the target itself.
pub(super) const PORT_DOCUMENT: &str = "AWS-StartPortForwardingSession";

/// Dials a host that the target can reach.
pub(super) const HOST_DOCUMENT: &str = "AWS-StartPortForwardingSessionToRemoteHost";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_displayed_as_it_may_be_written() {
        let host = |host: &str| Remote::Host {
            host: host.to_owned(),
            port: 5432,
        };

        assert_eq!(Remote::Port(22).to_string(), "localhost:22");
        assert_eq!(host("db.internal").to_string(), "db.internal:5432");
        assert_eq!(host("2001:db8::7").to_string(), "[2001:db8::7]:5432");
    }

    #[test]
    fn a_mapped_loopback_address_is_loopback() {
        let mapped = Listen::Tcp("[::ffff:127.0.0.1]:80".parse().unwrap());
        let open = Listen::Tcp("[::]:80".parse().unwrap());

        assert!(mapped.is_loopback());
        assert!(!open.is_loopback());
    }
}
