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
    "Access to AWS; absent settings come from the AWS environment and configuration files",
);

/// `[[forward]]`.
pub const FORWARD: Section = Section {
    name: "forward",
    shape: Shape::Many,
    settings: FORWARD_SETTINGS,
    doc: "A local address, and the destination its connections are forwarded to through a target",
};

/// `[limits]`.
pub const LIMITS: Section = once(
    "limits",
    LIMITS_SETTINGS,
    "Limits of the daemon, over all forwards",
);

/// `[shutdown]`.
pub const SHUTDOWN: Section = once("shutdown", SHUTDOWN_SETTINGS, "Shutdown of the daemon");

/// `[log]`.
pub const LOG: Section = once("log", LOG_SETTINGS, "Logging");

/// `[http]`.
pub const HTTP: Section = once(
    "http",
    HTTP_SETTINGS,
    "Health checks and metrics over HTTP; disabled unless this table is present",
);

/// `[admin]`.
pub const ADMIN: Section = once(
    "admin",
    ADMIN_SETTINGS,
    "Socket used by `status`, `reload`, `stop`, `wait` and `log`",
);

/// `[defaults]`: settings of a forward, except those that define it.
pub const DEFAULTS: Section = once(
    "defaults",
    FORWARD_SETTINGS.split_at(OWN).1,
    "Defaults for the settings of all forwards",
);

const SHUTDOWN_SETTINGS: &[Setting] = &[Setting {
    key: "drain_timeout",
    kind: Kind::Duration {
        min: Duration::ZERO,
        max: Duration::from_secs(60 * MINUTE),
    },
    absent: Absent::Nothing,
    example: "\"30s\"",
    doc: "Time for open connections to finish after a stop request; 0s: reset them at once; absent: 30s under systemd, otherwise 8s for the whole shutdown, because `docker stop` kills after 10 s",
}];

const LOG_SETTINGS: &[Setting] = &[
    Setting {
        key: "format",
        kind: Kind::Choice(FORMATS),
        absent: Absent::Text("auto"),
        example: "\"json\"",
        doc: "text: readable lines; json: one object per line; journald: structured journal fields; auto: journald if stderr is the journal, otherwise text",
    },
    Setting {
        key: "level",
        kind: Kind::Choice(LEVELS),
        absent: Absent::Text("info"),
        example: "\"debug\"",
        doc: "Lowest level that is logged; overridden by -v, -q and SSM_PROXYD_LOG",
    },
];

/// Setting of a forward and of `[http]`.
const ALLOW_REMOTE_CLIENTS: Setting = Setting {
    key: "allow_remote_clients",
    kind: Kind::Flag,
    absent: Absent::Flag(false),
    example: "true",
    doc: "Allow addresses in `listen` that other machines can reach",
};

const HTTP_SETTINGS: &[Setting] = &[
    Setting {
        key: "listen",
        kind: Kind::Listen,
        absent: Absent::Problem,
        example: "\"127.0.0.1:9187\"",
        doc: "Local address, or an array of them; a port alone means 127.0.0.1 and ::1",
    },
    ALLOW_REMOTE_CLIENTS,
    Setting {
        key: "hosts",
        kind: Kind::Hosts,
        absent: Absent::Nothing,
        example: "[\"metrics.example.org\"]",
        doc: "Host names accepted in requests, in addition to addresses and localhost; requests with other names are rejected",
    },
];

const ADMIN_SETTINGS: &[Setting] = &[Setting {
    key: "socket",
    kind: Kind::Socket,
    absent: Absent::Nothing,
    example: "\"/run/ssm-proxyd/admin.sock\"",
    doc: "Path of the Unix socket, accessible to its user and root only; absent: admin.sock in $RUNTIME_DIRECTORY, else in $XDG_RUNTIME_DIR/ssm-proxyd",
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
        doc: "Maximum concurrent connections of all forwards; further ones wait",
    },
    Setting {
        key: "session_start_rate",
        kind: Kind::Number { min: 1, max: 1000 },
        absent: Absent::Number(5),
        example: "5",
        doc: "Maximum StartSession calls per second, for each region and profile; bursts of up to four seconds' worth",
    },
];

const FORWARD_SETTINGS: &[Setting] = &[
    Setting {
        key: "name",
        kind: Kind::Name,
        absent: Absent::Problem,
        example: "\"orders-db\"",
        doc: "Unique name in logs, metrics and commands",
    },
    Setting {
        key: "listen",
        kind: Kind::Listen,
        absent: Absent::Problem,
        example: "5432",
        doc: "Local address, or an array of them; a port alone means 127.0.0.1 and ::1",
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
        doc: "Destination that the agent connects to: host and port, or a port alone for the target itself",
    },
    Setting {
        key: "enabled",
        kind: Kind::Flag,
        absent: Absent::Flag(true),
        example: "false",
        doc: "Serve this forward; false: it is validated and listed only",
    },
    Setting {
        key: "mode",
        kind: Kind::Mode,
        absent: Absent::Text("0600"),
        example: "\"0600\"",
        doc: "Permissions of a Unix socket in octal digits",
    },
    Setting {
        key: "document",
        kind: Kind::Document,
        absent: Absent::Nothing,
        example: "\"AWS-StartPortForwardingSessionToRemoteHost\"",
        doc: "SSM document; absent: AWS-StartPortForwardingSession, or AWS-StartPortForwardingSessionToRemoteHost if `remote` has a host",
    },
    Setting {
        key: "sessions",
        kind: Kind::Choice(SESSIONS),
        absent: Absent::Text(PER_CONNECTION),
        example: "\"shared\"",
        doc: "One session per connection, or one session shared by several connections",
    },
    Setting {
        key: "warm",
        kind: Kind::Number { min: 0, max: 64 },
        absent: Absent::Number(0),
        example: "2",
        doc: "Number of warm sessions (per_connection)",
    },
    Setting {
        key: "warm_max_age",
        kind: Kind::Duration {
            min: Duration::from_secs(10),
            max: Duration::from_secs(60 * MINUTE),
        },
        absent: Absent::Text("10m"),
        example: "\"10m\"",
        doc: "Maximum age of an unused warm session before it is replaced (per_connection)",
    },
    Setting {
        key: "max_streams",
        kind: Kind::Number { min: 1, max: 1024 },
        absent: Absent::Number(64),
        example: "64",
        doc: "Maximum connections per session; further ones start another session (shared)",
    },
    Setting {
        key: "max_session_age",
        kind: Kind::Duration {
            min: Duration::ZERO,
            max: Duration::from_secs(24 * 60 * MINUTE),
        },
        absent: Absent::Text("0s"),
        example: "\"1h\"",
        doc: "Maximum age of a session before new connections use a new one; 0s: unlimited (shared)",
    },
    Setting {
        key: "keep_alive",
        kind: Kind::Flag,
        absent: Absent::Flag(false),
        example: "true",
        doc: "Keep the session of an open connection from reaching the idle timeout",
    },
    Setting {
        key: "connect_timeout",
        kind: Kind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_secs(10 * MINUTE),
        },
        absent: Absent::Text("30s"),
        example: "\"30s\"",
        doc: "Timeout from accepting a connection until its stream is ready",
    },
    Setting {
        key: "resume_timeout",
        kind: Kind::Duration {
            min: Duration::ZERO,
            max: Duration::from_secs(60 * MINUTE),
        },
        absent: Absent::Text("5m"),
        example: "\"5m\"",
        doc: "Timeout for resuming a session, from the loss of the last websocket that lived for 5 s or carried new data; 0s: do not resume",
    },
    Setting {
        key: "half_close_timeout",
        kind: Kind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_secs(24 * 60 * MINUTE),
        },
        absent: Absent::Text("30s"),
        example: "\"30s\"",
        doc: "Idle time after a local EOF before both directions are closed",
    },
    Setting {
        key: "upload_rate",
        kind: Kind::Number {
            min: 0,
            max: 100_000,
        },
        absent: Absent::Number(900),
        example: "900",
        doc: "Maximum messages per second to the agent, per session; 0: unlimited",
    },
    Setting {
        key: "upload_payload",
        kind: Kind::Number {
            min: 64,
            max: 65_536,
        },
        absent: Absent::Number(1024),
        example: "1024",
        doc: "Payload bytes per message to the agent",
    },
    Setting {
        key: "upload_window",
        kind: Kind::Size {
            min: KIB,
            max: 64 * KIB * KIB,
        },
        absent: Absent::Text("256KiB"),
        example: "\"256KiB\"",
        doc: "Maximum unacknowledged bytes to the agent; at least one upload_payload",
    },
    Setting {
        key: "max_connections",
        kind: Kind::Number {
            min: 1,
            max: 65_535,
        },
        absent: Absent::Number(64),
        example: "64",
        doc: "Maximum concurrent connections; further ones wait",
    },
    ALLOW_REMOTE_CLIENTS,
    Setting {
        doc: "Region of this target; absent: as in [aws]",
        ..REGION
    },
    Setting {
        doc: "Profile in ~/.aws/config; its credentials override those of the environment; absent: as in [aws]",
        ..PROFILE
    },
    Setting {
        doc: "ARN of a role to assume; absent: as in [aws]",
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
