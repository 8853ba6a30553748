//! The settings table: every section and every setting.

use std::time::Duration;

use crate::config::check::address::{check_endpoint, check_gateway, check_proxy};
use crate::config::check::identifiers::{
    check_document, check_mode, check_name, check_path, check_profile, check_reason, check_region,
    check_role, check_socket,
};
use crate::config::check::version::check_client_version;
use crate::config::model::{Compress, Explain, PER_CONNECTION, SHARED};
use crate::config::settings::{Cardinality, Default, Kind, Section, Setting};

/// All tables of a file.
pub const SECTIONS: &[Section] = &[
    AWS, FORWARD, PROXY, LIMITS, SHUTDOWN, LOG, HTTP, ADMIN, DEFAULTS,
];

/// `[aws]`.
pub const AWS: Section = once(
    "aws",
    AWS_SETTINGS,
    "Access to AWS; absent settings come from the AWS environment and configuration files",
);

/// `[[forward]]`.
pub const FORWARD: Section = Section {
    name: "forward",
    shape: Cardinality::Array,
    settings: FORWARD_SETTINGS,
    doc: "A local address, and the destination its connections are forwarded to through a target",
};

/// `[[proxy]]`.
pub const PROXY: Section = Section {
    name: "proxy",
    shape: Cardinality::Array,
    settings: PROXY_SETTINGS,
    doc: "A local SOCKS and HTTP CONNECT proxy; each connection has a session of its own, to the destination that its client requests",
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
    "Defaults for the settings of all forwards and proxies",
);

const AWS_SETTINGS: &[Setting] = &[
    REGION.doc("Region of the targets; absent: from the AWS environment and configuration files"),
    PROFILE.doc("Profile in ~/.aws/config; absent: from the AWS environment"),
    ROLE.doc("ARN of a role to assume with these credentials; absent: no role is assumed"),
    optional(
        "ssm_endpoint",
        Kind::Text("^https?://.+$", check_endpoint),
        "\"https://vpce-0123-abcd.ssm.eu-west-1.vpce.amazonaws.com\"",
    )
    .doc("URL of the SSM API, for example a VPC endpoint; http:// only for loopback"),
    optional(
        "ecs_endpoint",
        Kind::Text("^https?://.+$", check_endpoint),
        "\"https://vpce-0123-abcd.ecs.eu-west-1.vpce.amazonaws.com\"",
    )
    .doc("URL of the ECS API, which finds targets in ECS; http:// only for loopback; absent: the public endpoint, or ssm_endpoint if that is loopback"),
    optional(
        "ec2_instance_connect_endpoint",
        Kind::Text("^https?://.+$", check_endpoint),
        "\"https://vpce-0123-abcd.ec2-instance-connect.eu-west-1.vpce.amazonaws.com\"",
    )
    .doc("URL of EC2 Instance Connect, for `connect --push-key`; http:// only for loopback; absent: the public endpoint, or ssm_endpoint if that is loopback"),
    optional(
        "ssmmessages_endpoint",
        Kind::Text("^(https?|wss?)://[^/]+/?$", check_gateway),
        "\"https://vpce-0123-abcd.ssmmessages.eu-west-1.vpce.amazonaws.com\"",
    )
    .doc("URL for the data channels of all sessions; absent: the URL returned by StartSession"),
    optional("ca_bundle", Kind::Text("^/.+$", check_path), "\"/etc/ssl/company.pem\"")
        .doc("PEM file with additional CA certificates"),
    optional(
        "proxy",
        Kind::Text("^([Hh][Tt][Tt][Pp]://.+|none)$", check_proxy),
        "\"http://proxy.corp:3128\"",
    )
    .doc("HTTP proxy for all connections to AWS, or \"none\"; absent: from HTTPS_PROXY or ALL_PROXY, with NO_PROXY"),
    optional(
        "client_version",
        Kind::Text("^[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+$", check_client_version),
        "\"1.2.835.0\"",
    )
    .doc("Client version (session-manager-plugin) reported to AWS; absent: 1.2.764.0, the oldest version supported by AWS"),
];

/// Settings of `[aws]` and of a forward.
const REGION: Setting = optional(
    "region",
    Kind::Text("^[a-z0-9-]+-[0-9]+$", check_region),
    "\"eu-west-1\"",
);
const PROFILE: Setting = optional("profile", Kind::Text("^.+$", check_profile), "\"prod\"");
const ROLE: Setting = optional(
    "role_arn",
    Kind::Text("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", check_role),
    "\"arn:aws:iam::111122223333:role/tunnel\"",
);

const SHUTDOWN_SETTINGS: &[Setting] = &[
    optional("drain_timeout", Kind::Duration(Duration::ZERO, HOUR), "\"30s\"")
        .doc("Time for open connections to finish after a stop request; 0s: reset them at once; absent: 30s under systemd, otherwise 8s for the whole shutdown, because `docker stop` kills after 10 s"),
];

const LOG_SETTINGS: &[Setting] = &[
    choice("format", &["auto", "text", "json", "journald"], "auto")
        .doc("text: readable lines; json: one object per line; journald: structured journal fields; auto: journald if stderr is the journal, otherwise text"),
    choice("level", &["error", "warn", "info", "debug", "trace"], "info")
        .doc("Lowest level that is logged; overridden by -v, -q and SSM_PROXYD_LOG"),
];

const HTTP_SETTINGS: &[Setting] = &[
    listen("\"127.0.0.1:9187\""),
    ALLOW_REMOTE_CLIENTS,
    optional("hosts", Kind::Hosts, "[\"metrics.example.org\"]")
        .doc("Host names accepted in requests, in addition to addresses and localhost; requests with other names are rejected"),
];

const ADMIN_SETTINGS: &[Setting] = &[
    optional(
        "socket",
        Kind::Text("^/.+$", check_socket),
        "\"/run/ssm-proxyd/admin.sock\"",
    )
    .doc("Path of the Unix socket, accessible to its user and root only; absent: admin.sock in $RUNTIME_DIRECTORY, else in $XDG_RUNTIME_DIR/ssm-proxyd"),
];

const LIMITS_SETTINGS: &[Setting] = &[
    number("max_connections", 1, 1_000_000, 1024)
        .doc("Maximum concurrent connections of all forwards; further ones wait"),
    number("session_start_rate", 1, 1000, 5)
        .doc("Maximum StartSession calls per second, for each region and profile; bursts of up to four seconds' worth"),
];

const FORWARD_SETTINGS: &[Setting] = &[
    required(
        "name",
        Kind::Text("^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", check_name),
        "\"orders-db\"",
    )
    .doc("Unique name in logs, metrics and commands"),
    listen("5432"),
    required("target", Kind::Target, "\"i-0123456789abcdef0\"")
        .doc("The managed node that runs the agent: an id (i-…, mi-…, ecs:…) with an optional .REGION, \"ecs:CLUSTER/SERVICE[/CONTAINER]\", \"tag:KEY=VALUE\", the value of the tag Name, { tags = { … } } or { ecs = { … } }; or an array, tried in order"),
    Setting::new(
        "remote",
        Kind::Remote,
        Default::Unless(&["document", "parameters"]),
        "\"db.internal:5432\"",
    )
    .doc("Destination that the agent connects to: host and port, or a port alone for the target itself; optional with `document`"),
    flag("enabled", true).doc("Start this forward; false: it is validated and listed only"),
    Setting::new(
        "mode",
        Kind::Text("^[0-7]{1,4}$", check_mode),
        Default::Text("0600"),
        "",
    )
    .doc("Permissions of a Unix socket in octal digits"),
    optional(
        "document",
        Kind::Text("^.+$", check_document),
        "\"AWS-StartPortForwardingSessionToRemoteHost\"",
    )
    .doc("SSM document; absent: AWS-StartPortForwardingSession, or AWS-StartPortForwardingSessionToRemoteHost if `remote` has a host"),
    optional("parameters", Kind::Parameters, "{ database = \"orders\" }")
        .doc("Parameters of `document`, sent exactly, instead of those derived from `remote`; absent without `remote`: none"),
    optional("reason", Kind::Text("^.{1,100}$", check_reason), "\"on call, INC-4711\"")
        .doc("Text that is added to the `Reason` of each session, at most 100 characters; absent: the `Reason` names this program, host and forward only"),
    optional("relay", Kind::Number(1, 65_535), "7400")
        .doc("Port of `ssm-proxyd relay` on the target: connections go through it, over several sessions at once; absent: each session leads to the destination"),
    number("stripes", 1, 32, 8)
        .doc("Maximum number of sessions to the relay; started one by one while there is more to carry (relay)"),
    choice("compress", Compress::WORDS, "auto")
        .doc("Compression between this program and the relay; auto: as long as it shortens what is sent; on: always; off: never (relay)"),
    choice("sessions", &[PER_CONNECTION, SHARED], PER_CONNECTION)
        .doc("One session per connection, or one session shared by several connections"),
    number("warm", 0, 64, 0).doc("Number of warm sessions (per_connection)"),
    duration("warm_max_age", Duration::from_secs(10), HOUR, "10m")
        .doc("Maximum age of an unused warm session before it is replaced (per_connection)"),
    number("max_streams", 1, 1024, 64)
        .doc("Maximum connections per session; further ones start another session (shared)"),
    duration("max_session_age", Duration::ZERO, DAY, "0s")
        .doc("Maximum age of a session before new connections use a new one; 0s: unlimited (shared)"),
    flag("keep_alive", false)
        .doc("Keep the session of an open connection from reaching the idle timeout"),
    duration("connect_timeout", SECOND, Duration::from_secs(600), "30s")
        .doc("Timeout from accepting a connection until its stream is ready"),
    duration("resume_timeout", Duration::ZERO, HOUR, "5m")
        .doc("Timeout for resuming a session, from the loss of the last websocket that was open for 5 s or carried new data; 0s: do not resume"),
    duration("half_close_timeout", SECOND, DAY, "30s")
        .doc("Idle time after a local EOF before both directions are closed"),
    number("upload_rate", 0, 100_000, 900)
        .doc("Maximum messages per second to the agent, per session; 0: unlimited"),
    number("upload_payload", 64, 65_536, 1024).doc("Payload bytes per message to the agent"),
    Setting::new(
        "upload_window",
        Kind::Size(1 << 10, 64 << 20),
        Default::Text("256KiB"),
        "",
    )
    .doc("Maximum unacknowledged bytes to the agent; at least one upload_payload"),
    number("max_connections", 1, 65_535, 64)
        .doc("Maximum concurrent connections; further ones wait"),
    ALLOW_REMOTE_CLIENTS,
    choice("explain", Explain::WORDS, "auto")
        .doc("Protocol in which a client gets an error message with the cause if its connection is not served, before the end; auto: by the port of `remote` (5432, 3306, 6379, 80), otherwise off; off: a reset only"),
    REGION.doc("Region of this target; absent: as in [aws]"),
    PROFILE.doc("Profile in ~/.aws/config; its credentials override those of the environment; absent: as in [aws]"),
    ROLE.doc("ARN of a role to assume; absent: as in [aws]"),
];

/// Settings of a forward, except those of its destination and of sessions before or after a
/// connection; and the rules.
const PROXY_SETTINGS: &[Setting] = &[
    of_forward("name"),
    listen("1080"),
    of_forward("target"),
    required(
        "allow",
        Kind::Allow,
        "[\"*.eks.amazonaws.com:443\", \"10.0.0.0/8:*\"]",
    )
    .doc("Destinations that clients may request: an array of \"HOST:PORT\", where HOST is a name, *.DOMAIN, an address, a block such as 10.0.0.0/8 or *, and PORT a port, a range or *; all others are denied"),
    of_forward("enabled"),
    of_forward("mode"),
    of_forward("reason"),
    of_forward("keep_alive"),
    of_forward("connect_timeout"),
    of_forward("resume_timeout"),
    of_forward("half_close_timeout"),
    of_forward("upload_rate"),
    of_forward("upload_payload"),
    of_forward("upload_window"),
    of_forward("max_connections"),
    of_forward("allow_remote_clients"),
    of_forward("region"),
    of_forward("profile"),
    of_forward("role_arn"),
];

/// Returns the row of a key of `[[forward]]`.
const fn of_forward(key: &str) -> Setting {
    let mut index = 0;
    while !is_equal(FORWARD_SETTINGS[index].key, key) {
        index += 1;
    }
    FORWARD_SETTINGS[index]
}

const fn is_equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}

/// Number of settings at the start of the list that define a forward: name, listen, target, remote.
const OWN: usize = 4;

/// Setting of a forward and of `[http]`.
const ALLOW_REMOTE_CLIENTS: Setting = flag("allow_remote_clients", false)
    .doc("Allow addresses in `listen` that other machines can reach");

const fn listen(example: &'static str) -> Setting {
    required("listen", Kind::Listen, example)
        .doc("Local address, or an array of them; a port alone means 127.0.0.1 and ::1")
}

/// A section that occurs at most once.
const fn once(name: &'static str, settings: &'static [Setting], doc: &'static str) -> Section {
    Section {
        name,
        shape: Cardinality::Single,
        settings,
        doc,
    }
}

const fn required(key: &'static str, kind: Kind, example: &'static str) -> Setting {
    Setting::new(key, kind, Default::Required, example)
}

const fn optional(key: &'static str, kind: Kind, example: &'static str) -> Setting {
    Setting::new(key, kind, Default::None, example)
}

const fn flag(key: &'static str, default: bool) -> Setting {
    let example = if default { "false" } else { "true" };
    Setting::new(key, Kind::Flag, Default::Flag(default), example)
}

const fn number(key: &'static str, min: u64, max: u64, default: u32) -> Setting {
    Setting::new(key, Kind::Number(min, max), Default::Number(default), "")
}

const fn duration(
    key: &'static str,
    min: Duration,
    max: Duration,
    default: &'static str,
) -> Setting {
    Setting::new(key, Kind::Duration(min, max), Default::Text(default), "")
}

const fn choice(
    key: &'static str,
    words: &'static [&'static str],
    default: &'static str,
) -> Setting {
    Setting::new(key, Kind::Choice(words), Default::Text(default), "")
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
