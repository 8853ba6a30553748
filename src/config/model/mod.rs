//! Validated configuration.
//!
//! These types are only created by `check`, so users of a [`Forward`] can rely on valid names,
//! addresses and numbers. Callers without a file write the text and call
//! [`parse`](crate::config::parse).

mod allow;
mod aws;
mod compress;
mod explain;
mod host_addresses;
mod listen;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use self::allow::{ALL_PORTS, ANY, AddressBlock, HostPattern, bits};
pub use self::allow::{Allow, AllowRule};
pub(super) use self::aws::NO_PROXY;
pub use self::aws::{Account, Aws, ClientVersion, Proxy};
pub use self::compress::Compress;
pub use self::explain::{ClientProtocol, Explain};
pub use self::host_addresses::HostAddresses;
pub use self::listen::Listen;
pub use self::target::{EcsTarget, EcsTasks, Target, Targets};

/// Contents of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How to connect to AWS.
    pub aws: Aws,
    /// Daemon-wide limits.
    pub limits: Limits,
    /// Shutdown behaviour.
    pub shutdown: Shutdown,
    /// Log settings.
    pub log: Log,
    /// HTTP server for health and metrics; `None`: off.
    pub http: Option<Http>,
    /// Admin socket.
    pub admin: Admin,
    /// Forwards, in file order; at least one. Names are unique, and no address is used twice by the
    /// enabled forwards and `http`.
    pub forwards: Vec<Forward>,
}

/// Daemon-wide limits, over all forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum concurrent connections; at least 1.
    pub max_connections: usize,
    /// StartSession calls per second, per AWS client; at least 1. Bursts of up to four seconds'
    /// worth.
    pub session_start_rate: u32,
}

/// Shutdown behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long open connections may continue; zero: they are reset at once.
    pub drain_timeout: Duration,
    /// Whether `drain_timeout` covers the whole shutdown. True if the file does not set it: the
    /// caller will not wait much longer, so connections are closed earlier to leave time for
    /// terminating their sessions.
    pub includes_endings: bool,
}

/// HTTP server for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Addresses to listen on; at least one.
    pub listen: Vec<Listen>,
    /// Whether `listen` may include non-loopback addresses.
    pub allow_remote_clients: bool,
    /// Host names accepted from clients, besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// Admin socket, through which commands reach the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Absolute path that fits into a Unix socket address; `None`: the default path.
    pub socket: Option<PathBuf>,
}

/// Log settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Output format.
    pub format: LogFormat,
    /// Lowest level that is written.
    pub level: LogLevel,
}

/// Output format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `Journald` if stderr is connected to the journal, else `Text`.
    Auto,
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
    /// Native journal entries with separate fields.
    Journald,
}

impl LogFormat {
    /// All formats.
    pub(super) const ALL: [Self; 4] = [Self::Auto, Self::Text, Self::Json, Self::Journald];

    /// Returns the value as written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
            Self::Journald => "journald",
        }
    }
}

/// Log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures that will not recover without intervention.
    Error,
    /// Problems to be looked at, but not urgently.
    Warn,
    /// Events that the operator would notice.
    Info,
    /// Decisions that deviate from the normal path.
    Debug,
    /// Every message.
    Trace,
}

impl LogLevel {
    /// All levels.
    pub(super) const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// Returns the value as written in the file.
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

/// How connections are mapped to sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// One session per connection.
    PerConnection {
        /// Number of warm sessions.
        warm: usize,
        /// Age after which an unused warm session is replaced.
        warm_max_age: Duration,
    },
    /// Connections share a session, as streams of its mux.
    Shared {
        /// Maximum connections per session; at least 1.
        max_streams: usize,
        /// Age after which a new session takes over; `None`: never.
        max_age: Option<Duration>,
    },
}

impl SessionMode {
    /// Returns the value as written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PerConnection { .. } => PER_CONNECTION,
            Self::Shared { .. } => SHARED,
        }
    }
}

/// A forwarding rule: local address → target, host, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Unique name, used in logs, metrics and commands. 1 to 64 characters of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// Whether it is served. A disabled forward is only checked and listed.
    pub enabled: bool,
    /// Addresses to listen on; at least one.
    pub listen: Vec<Listen>,
    /// Permissions of its Unix sockets: at most 0o777, with at least one bit that permits
    /// connecting.
    pub mode: u32,
    /// Managed nodes that run the agent.
    pub target: Targets,
    /// Destination that the agent connects to.
    pub remote: Remote,
    /// AWS settings that override `[aws]`.
    pub account: Account,
    /// SSM document, if not that of `remote`; see [`Forward::document`].
    pub document: Option<String>,
    /// Text in the `Reason` of its sessions: 1 to 100 printable characters.
    pub reason: Option<String>,
    /// The relay through which its connections go, if any.
    pub relay: Option<Relay>,
    /// How connections are mapped to sessions.
    pub sessions: SessionMode,
    /// Whether an open connection prevents the idle timeout of its session.
    pub keep_alive: bool,
    /// Maximum time from accept to a stream that can carry data.
    pub connect_timeout: Duration,
    /// How long a broken websocket may be re-established before its connection is closed; zero: not
    /// at all. At most one hour.
    pub resume_timeout: Duration,
    /// Time without traffic after a local EOF before both directions are closed.
    pub half_close_timeout: Duration,
    /// Upload limits, towards the agent.
    pub upload: Upload,
    /// Maximum concurrent connections; at least 1.
    pub max_connections: usize,
    /// Whether `listen` may include non-loopback addresses.
    pub allow_remote_clients: bool,
    /// Protocol of the error messages for clients whose connection is not served.
    pub explain: Explain,
    /// Line of its `listen` in the file, from 1.
    pub line: usize,
}

/// A relay on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its port on the target, from 1.
    pub port: u16,
    /// Maximum number of sessions to it: 1 to 32.
    pub stripes: usize,
    /// Whether connections through it are compressed.
    pub compress: Compress,
}

impl Forward {
    /// Returns the forward whose sessions lead to the relay of this one, if it has one.
    pub fn of_stripes(&self) -> Option<Self> {
        let relay = self.relay?;
        Some(Self {
            remote: Remote::Port(relay.port),
            document: None,
            relay: None,
            sessions: SessionMode::PerConnection {
                warm: 0,
                // Also the time in which a new session must be taken.
                warm_max_age: Duration::from_secs(600),
            },
            // Each session is started for a connection.
            max_connections: self.max_connections.max(relay.stripes),
            ..self.clone()
        })
    }

    /// Returns whether both forwards are equal apart from their line.
    pub fn equal_ignoring_line(&self, other: &Self) -> bool {
        let other = Self {
            line: self.line,
            ..other.clone()
        };
        *self == other
    }

    /// Returns the SSM document of its sessions: the configured one, else that of `remote`
    /// (docs/protocol.md, section 1.3).
    pub fn document(&self) -> &str {
        if self.relay.is_some() {
            return PORT_DOCUMENT;
        }
        self.document
            .as_deref()
            .unwrap_or_else(|| self.remote.document())
    }

    /// Returns all documents that its sessions may have: a proxy has one for other hosts and one
    /// for the target itself.
    pub fn documents(&self) -> Vec<&str> {
        let Remote::Requested(allow) = &self.remote else {
            return vec![self.document()];
        };
        let hosts = allow.permits_other_hosts().then_some(HOST_DOCUMENT);
        let ports = allow.permits_target_itself().then_some(PORT_DOCUMENT);
        hosts.into_iter().chain(ports).collect()
    }

    /// Returns whether its clients request the destination of each connection.
    pub fn is_proxy(&self) -> bool {
        matches!(self.remote, Remote::Requested(_))
    }
}

/// Destination that the agent connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A port of the target itself.
    Port(u16),
    /// A port of a host that the target can reach.
    Host {
        /// Name, IPv4 address, or IPv6 address without brackets; never loopback.
        host: String,
        /// Port, from 1.
        port: u16,
    },
    /// Whatever a document resolves to.
    Document {
        /// Name or ARN.
        name: String,
        /// Its parameters; those that it does not take are an error of StartSession.
        parameters: Parameters,
    },
    /// What each client requests of a proxy, if the rules permit it.
    Requested(Allow),
}

/// Parameters of a document, each with its values.
pub type Parameters = BTreeMap<String, Vec<String>>;

impl Remote {
    /// Returns the document parameters.
    pub fn parameters(&self) -> Parameters {
        let (host, port) = match self {
            Self::Port(port) => (None, port),
            Self::Host { host, port } => (Some(("host".to_owned(), vec![host.clone()])), port),
            Self::Document { parameters, .. } => return parameters.clone(),
            Self::Requested(_) => return Parameters::new(),
        };
        let port = ("portNumber".to_owned(), vec![port.to_string()]);
        host.into_iter().chain([port]).collect()
    }

    /// Returns its document.
    pub fn document(&self) -> &str {
        match self {
            Self::Port(_) => PORT_DOCUMENT,
            Self::Host { .. } | Self::Requested(_) => HOST_DOCUMENT,
            Self::Document { name, .. } => name,
        }
    }
}

/// Formats as the user would write it; a port of the target itself as in `ssh -L`.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "localhost:{port}"),
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Document { name, .. } => write!(f, "document {name}"),
            Self::Requested(allow) => write!(f, "proxy to {allow}"),
        }
    }
}

/// Upload limits, towards the agent. The defaults are what Session Manager tolerates
/// (docs/protocol.md, section 0.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Sequenced messages per second and session; 0: unlimited.
    pub rate: u32,
    /// Payload bytes per message.
    pub payload: usize,
    /// Maximum unacknowledged bytes; at least one payload.
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

/// A value of `sessions`.
pub(super) const PER_CONNECTION: &str = "per_connection";
/// A value of `sessions`.
pub(super) const SHARED: &str = "shared";

/// Document for a port of the target itself.
pub(super) const PORT_DOCUMENT: &str = "AWS-StartPortForwardingSession";

/// Document for a host that the target can reach.
pub(super) const HOST_DOCUMENT: &str = "AWS-StartPortForwardingSessionToRemoteHost";
