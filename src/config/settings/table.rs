//! The settings table: every section and every setting.

use std::time::Duration;

use crate::config::settings::aws::{AWS_SETTINGS, PROFILE, REGION, ROLE};
use crate::config::settings::{Absent, Kind, Section, Setting, Shape};

/// All tables of a file.
pub const SECTIONS: &[Section] = &[AWS, FORWARD, LIMITS, SHUTDOWN, LOG, HTTP, ADMIN, DEFAULTS];

/// `[aws]`.
pub const AWS: Section = once(
    "aws",
    AWS_SETTINGS,
    "How to reach AWS; what is absent comes from the usual AWS environment and files",
);

/// `[[forward]]`.
pub const FORWARD: Section = Section {
    name: "forward",
    shape: Shape::Many,
    settings: FORWARD_SETTINGS,
    doc: "A local address, and the destination that its connections reach through a target",
};

/// `[limits]`.
pub const LIMITS: Section = once(
    "limits",
    LIMITS_SETTINGS,
    "What the whole daemon may take, over all forwards",
);

/// `[shutdown]`.
pub const SHUTDOWN: Section = once("shutdown", SHUTDOWN_SETTINGS, "How the daemon stops");

/// `[log]`.
pub const LOG: Section = once("log", LOG_SETTINGS, "What is said, and how");

/// `[http]`.
pub const HTTP: Section = once(
    "http",
    HTTP_SETTINGS,
    "Health and metrics over HTTP; off unless it is there",
);

/// `[admin]`.
pub const ADMIN: Section = once(
    "admin",
    ADMIN_SETTINGS,
    "How `status`, `reload`, `stop`, `wait` and `log` find the daemon",
);

/// `[defaults]`: settings of a forward, except those that define it.
pub const DEFAULTS: Section = once(
    "defaults",
    FORWARD_SETTINGS.split_at(OWN).1,
    "Settings of every forward that does not say otherwise",
);

const SHUTDOWN_SETTINGS: &[Setting] = &[Setting {
    key: "drain_timeout",
    kind: Kind::Duration {
        min: Duration::ZERO,
        max: Duration::from_secs(60 * MINUTE),
    },
    absent: Absent::Nothing,
    example: "\"30s\"",
    doc: "How long open connections may go on after a stop was asked for; 0s: they are reset at once; absent: 30s under systemd, elsewhere 8s for the whole stop, as `docker stop` kills after 10 s",
}];

const LOG_SETTINGS: &[Setting] = &[
    Setting {
        key: "format",
        kind: Kind::Choice(FORMATS),
        absent: Absent::Text("auto"),
        example: "\"json\"",
        doc: "text: lines for people; json: for programs; journald: fields for the journal; auto: text, or journald where stderr is the journal",
    },
    Setting {
        key: "level",
        kind: Kind::Choice(LEVELS),
        absent: Absent::Text("info"),
        example: "\"debug\"",
        doc: "The least important lines that are written; -v, -q and SSM_PROXYD_LOG win",
    },
];

/// Setting of a forward and of `[http]`.
const ALLOW_REMOTE_CLIENTS: Setting = Setting {
    key: "allow_remote_clients",
    kind: Kind::Flag,
    absent: Absent::Flag(false),
    example: "true",
    doc: "Whether `listen` may hold an address that other machines can reach",
};

const HTTP_SETTINGS: &[Setting] = &[
    Setting {
        key: "listen",
        kind: Kind::Listen,
        absent: Absent::Problem,
        example: "\"127.0.0.1:9187\"",
        doc: "The local address, or an array of them; a port alone is on 127.0.0.1 and ::1",
    },
    ALLOW_REMOTE_CLIENTS,
    Setting {
        key: "hosts",
        kind: Kind::Hosts,
        absent: Absent::Nothing,
        example: "[\"metrics.example.org\"]",
        doc: "The names by which clients call this machine, besides addresses and localhost; requests for other names are refused",
    },
];

const ADMIN_SETTINGS: &[Setting] = &[Setting {
    key: "socket",
    kind: Kind::Socket,
    absent: Absent::Nothing,
    example: "\"/run/ssm-proxyd/admin.sock\"",
    doc: "A Unix socket for its user and root alone; absent: admin.sock in $RUNTIME_DIRECTORY, else in $XDG_RUNTIME_DIR/ssm-proxyd",
}];

const LIMITS_SETTINGS: &[Setting] = &[
    Setting {
        key: "max_connections",
        kind: Kind::Number {
            min: 1,
            max: 1_000_000,
        },
        absent: Absent::Number(1024),
        example: "1024",
        doc: "Connections of all forwards at once; further ones wait",
    },
    Setting {
        key: "session_start_rate",
        kind: Kind::Number { min: 1, max: 1000 },
        absent: Absent::Number(5),
        example: "5",
        doc: "StartSession calls per second, for each region and profile; bursts of four seconds' worth",
    },
];

const FORWARD_SETTINGS: &[Setting] = &[
    Setting {
        key: "name",
        kind: Kind::Name,
        absent: Absent::Problem,
        example: "\"orders-db\"",
        doc: "What logs, metrics and commands call it; unique",
    },
    Setting {
        key: "listen",
        kind: Kind::Listen,
        absent: Absent::Problem,
        example: "5432",
        doc: "The local address, or an array of them; a port alone is on 127.0.0.1 and ::1",
    },
    Setting {
        key: "target",
        kind: Kind::Target,
        absent: Absent::Problem,
        example: "\"i-0123456789abcdef0\"",
        doc: "The managed node that runs the agent: an instance (i-…), a hybrid node (mi-…), an ECS task, or { tags = { … } }; or an array, tried in order",
    },
    Setting {
        key: "remote",
        kind: Kind::Remote,
        absent: Absent::Problem,
        example: "\"db.internal:5432\"",
        doc: "What the agent dials: host and port, or a port alone for the target itself",
    },
    Setting {
        key: "enabled",
        kind: Kind::Flag,
        absent: Absent::Flag(true),
        example: "false",
        doc: "Whether it is served; false: it is checked and shown, and does nothing",
    },
    Setting {
        key: "mode",
        kind: Kind::Mode,
        absent: Absent::Text("0600"),
        example: "\"0600\"",
        doc: "Who may connect to a Unix socket: its permissions in octal digits",
    },
    Setting {
        key: "document",
        kind: Kind::Document,
        absent: Absent::Nothing,
        example: "\"AWS-StartPortForwardingSessionToRemoteHost\"",
        doc: "The SSM document; absent: AWS-StartPortForwardingSession, with ToRemoteHost if `remote` has a host",
    },
    Setting {
        key: "sessions",
        kind: Kind::Choice(SESSIONS),
        absent: Absent::Text(PER_CONNECTION),
        example: "\"shared\"",
        doc: "Whether every connection has a session of its own, or connections share one",
    },
    Setting {
        key: "warm",
        kind: Kind::Number { min: 0, max: 64 },
        absent: Absent::Number(0),
        example: "2",
        doc: "Sessions kept ready (per_connection)",
    },
    Setting {
        key: "warm_max_age",
        kind: Kind::Duration {
            min: Duration::from_secs(10),
            max: Duration::from_secs(60 * MINUTE),
        },
        absent: Absent::Text("10m"),
        example: "\"10m\"",
        doc: "A ready session older than this is replaced, unused (per_connection)",
    },
    Setting {
        key: "max_streams",
        kind: Kind::Number { min: 1, max: 1024 },
        absent: Absent::Number(64),
        example: "64",
        doc: "Connections on one shared session; then another is started (shared)",
    },
    Setting {
        key: "max_session_age",
        kind: Kind::Duration {
            min: Duration::ZERO,
            max: Duration::from_secs(24 * 60 * MINUTE),
        },
        absent: Absent::Text("0s"),
        example: "\"1h\"",
        doc: "A fresh session takes over from a shared one after this; 0s: never (shared)",
    },
    Setting {
        key: "keep_alive",
        kind: Kind::Flag,
        absent: Absent::Flag(false),
        example: "true",
        doc: "Whether an open connection keeps its session from idling out",
    },
    Setting {
        key: "connect_timeout",
        kind: Kind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_secs(10 * MINUTE),
        },
        absent: Absent::Text("30s"),
        example: "\"30s\"",
        doc: "From the accepted connection to a stream that can carry bytes",
    },
    Setting {
        key: "resume_timeout",
        kind: Kind::Duration {
            min: Duration::ZERO,
            max: Duration::from_secs(60 * MINUTE),
        },
        absent: Absent::Text("5m"),
        example: "\"5m\"",
        doc: "How long to try to resume a session after its last websocket broke that lived for 5 s or carried new data; 0s: not at all",
    },
    Setting {
        key: "half_close_timeout",
        kind: Kind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_secs(24 * 60 * MINUTE),
        },
        absent: Absent::Text("30s"),
        example: "\"30s\"",
        doc: "Quiet time after a local EOF before both directions are closed",
    },
    Setting {
        key: "upload_rate",
        kind: Kind::Number {
            min: 0,
            max: 100_000,
        },
        absent: Absent::Number(900),
        example: "900",
        doc: "Messages per second towards the agent, per session; 0: no limit",
    },
    Setting {
        key: "upload_payload",
        kind: Kind::Number {
            min: 64,
            max: 65_536,
        },
        absent: Absent::Number(1024),
        example: "1024",
        doc: "Bytes per message towards the agent",
    },
    Setting {
        key: "upload_window",
        kind: Kind::Size {
            min: KIB,
            max: 64 * KIB * KIB,
        },
        absent: Absent::Text("256KiB"),
        example: "\"256KiB\"",
        doc: "Unacknowledged bytes towards the agent; at least one upload_payload",
    },
    Setting {
        key: "max_connections",
        kind: Kind::Number {
            min: 1,
            max: 65_535,
        },
        absent: Absent::Number(64),
        example: "64",
        doc: "Connections at once; further ones wait",
    },
    ALLOW_REMOTE_CLIENTS,
    Setting {
        doc: "The region of this target; absent: that of [aws]",
        ..REGION
    },
    Setting {
        doc: "The profile in ~/.aws/config, whose credentials win over those of the environment; absent: that of [aws]",
        ..PROFILE
    },
    Setting {
        doc: "The ARN of a role to assume; absent: that of [aws]",
        ..ROLE
    },
];

/// A section that occurs at most once.
const fn once(name: &'static str, settings: &'static [Setting], doc: &'static str) -> Section {
    Section {
        name,
        shape: Shape::One,
        settings,
        doc,
    }
}

/// The values of `sessions`.
pub const PER_CONNECTION: &str = "per_connection";
/// The values of `sessions`.
pub const SHARED: &str = "shared";
const SESSIONS: &[&str] = &[PER_CONNECTION, SHARED];

/// The values of `format`.
const FORMATS: &[&str] = &["auto", "text", "json", "journald"];

/// The values of `level`.
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// Number of settings at the start of the list that define a forward: name, listen, target, remote.
const OWN: usize = 4;

/// Seconds per minute.
const MINUTE: u64 = 60;

/// Bytes per KiB.
const KIB: u64 = 1024;
