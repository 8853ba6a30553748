//! The tables of architecture.md section 4, as data.
//!
//! A *place* is a file or folder of `src` without `src/` and `.rs`: `wire/message` is the file
//! `wire/message.rs`, or the folder of that name and all that lies in it. A place that ends with
//! `*` is every file whose name begins so.
//!
//! A new row is a change to the architecture: say why in its commit.

/// Each room and the rooms that it may import.
pub(super) const ROOMS: &[(&str, &[&str])] = &[
    ("printable", &[]),
    ("clock", &[]),
    ("files", &[]),
    ("wire", &[]),
    ("network", &["files", "printable"]),
    ("config", &["files", "printable"]),
    ("telemetry", &["clock", "printable"]),
    ("panics", &["printable"]),
    (
        "session",
        &["clock", "files", "network", "panics", "printable"],
    ),
    ("proto", &["clock", "wire", "printable"]),
    (
        "tunnel",
        &[
            "clock",
            "proto",
            "session",
            "network",
            "panics",
            "printable",
        ],
    ),
    (
        "forward",
        &[
            "clock",
            "tunnel",
            "proto",
            "session",
            "network",
            "config",
            "telemetry",
            "panics",
            "printable",
        ],
    ),
    (
        "daemon",
        &[
            "clock",
            "forward",
            "tunnel",
            "proto",
            "session",
            "network",
            "config",
            "telemetry",
            "panics",
            "printable",
        ],
    ),
    ("sim", &["clock", "wire"]),
    (
        "cli",
        &[
            "clock",
            "files",
            "daemon",
            "forward",
            "sim",
            "proto",
            "session",
            "network",
            "config",
            "telemetry",
            "panics",
            "printable",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// The room that unit tests of every room may import as well.
pub(super) const FAR_SIDE: &str = "sim";

/// Which room may show names of another as its own: a `pub use` across rooms is a detour.
pub(super) const REEXPORTS: &[(&str, &str)] = &[("proto", "wire")];

/// Where an outside crate, or a part of `std`, may be named.
pub(super) enum Door {
    At(&'static [&'static str]),
    AnywhereBut(&'static [&'static str]),
}

use Door::{AnywhereBut, At};

/// Each outside crate and its door.
pub(super) const DOORS: &[(&str, Door)] = &[
    ("aws-config", At(&["session/aws", "session/target"])),
    (
        "aws-credential-types",
        At(&["session/aws", "session/sigv4"]),
    ),
    ("aws-sdk-ssm", At(&["session/aws", "session/target"])),
    ("aws-sdk-sso", At(&["session/aws/sso"])),
    ("aws-sdk-ssooidc", At(&["session/aws/sso"])),
    ("aws-sdk-sts", At(&["session/aws/cause", "session/aws/mfa"])),
    ("aws-sigv4", At(&["session/sigv4", "sim/signature"])),
    ("aws-smithy-http-client", At(&["session/aws"])),
    ("aws-types", At(&["session/aws"])),
    ("base64", At(&["network/proxy", "network/roots"])),
    ("bytes", AnywhereBut(&[])),
    ("clap", At(&["cli"])),
    ("clap_complete", At(&["cli/completions"])),
    ("clap_mangen", At(&["cli/man"])),
    (
        "fastrand",
        At(&[
            "proto/channel/encoder",
            "tunnel/backoff",
            "session/rate_limiter",
            "forward/pool",
            "sim",
        ]),
    ),
    ("futures-util", At(&["session/aws", "tunnel", "sim"])),
    ("http", At(&["session/stream_url", "session/sigv4"])),
    ("http-body-util", At(&["daemon", "sim"])),
    ("hyper", At(&["daemon", "sim"])),
    ("hyper-util", At(&["daemon", "sim"])),
    ("rcgen", At(&["sim"])),
    (
        "rustix",
        At(&[
            "cli/exec",
            "cli/place",
            "cli/terminal",
            "daemon/admin",
            "daemon/fd_limit",
            "forward/client/stdio",
            "forward/client/unix",
            "forward/listener",
            "network/shortage",
            "session/journal",
            "telemetry/log/stderr",
            "files",
            "session/aws/code_prompt",
            "session/aws/process",
        ]),
    ),
    ("rustls", At(&["network", "sim"])),
    ("rustls-native-certs", At(&["network"])),
    ("serde", At(WRITES_DOWN)),
    ("serde_json", At(WRITES_DOWN)),
    ("sha1", At(&["session/aws/sso"])),
    (
        "sha2",
        At(&[
            "wire/message",
            "sim/test_servers",
            "sim/signature",
            "cli/demo",
        ]),
    ),
    ("listenfd", At(&["forward/listener/socket_activation"])),
    ("sd-notify", At(&["daemon/systemd"])),
    ("signal-hook", At(&["daemon/signals"])),
    ("socket2", At(&["network", "forward", "sim"])),
    ("thiserror", AnywhereBut(&[])),
    ("tokio", At(USES_TOKIO)),
    ("tokio-rustls", At(&["network", "sim"])),
    ("tokio-tungstenite", At(&["tunnel/websocket", "sim"])),
    ("toml", At(&["config/document"])),
    ("tracing", AnywhereBut(&["wire", "config"])),
    ("tracing-subscriber", At(&["telemetry/log"])),
    ("uuid", At(&["wire/message", "proto", "tunnel", "sim"])),
    ("std::env", At(&["cli"])),
];

/// Where data becomes text that others read, and back.
const WRITES_DOWN: &[&str] = &[
    "printable",
    "wire/payload",
    "config/document",
    "telemetry/status",
    "daemon/admin",
    "daemon/forwards",
    "daemon/http",
    "session/journal",
    "session/aws/process",
    "session/aws/sso",
    "sim",
    "cli",
];

/// The rooms that may use tokio; their pure files stay without.
const USES_TOKIO: &[&str] = &[
    "clock", "network", "session", "tunnel", "forward", "daemon", "sim", "cli",
];

/// The pure files: no `async`, no I/O, no clock.
pub(super) const PURE: &[&str] = &[
    "printable",
    "wire",
    "proto",
    "network/connect_response",
    "network/no_proxy",
    "session/rate_limiter",
    "session/circuit_breaker",
    "session/node_order",
    "session/start_queue",
    "config/model",
    "config/document",
    "config/check",
    "config/syntax_messages",
    "config/source",
    "config/redact",
    "config/settings",
    "config/suggest",
    "config/syntax_errors",
    "config/diagnostic",
    "forward/pool",
    "tunnel/backoff",
    "sim/agent*",
    "sim/one_off_fault",
    "sim/json_bounds",
    "sim/documents",
    "sim/duration",
    "sim/faults",
    "sim/throttle",
    "sim/link",
    "sim/nodes",
    "sim/paging",
    "sim/fault_rules",
    "sim/queue",
    "sim/resolver",
];

/// What a pure file does not name, as the beginning of a path.
pub(super) const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
];

/// All of `std::net` that a pure file may name: what is written and not what is opened.
pub(super) const ADDRESSES: &[&str] = &[
    "AddrParseError",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
];

/// The files that may say `expect(clippy::disallowed_methods)`: time, tasks and the environment.
pub(super) const WINDOWS: &[&str] = &["clock", "cli/terminal"];

/// The files whose errors, events and reports are shown to people: a text in them is `Printable`,
/// which may come from outside, or `&'static str`, which cannot.
pub(super) const SHOWN: &[&str] = &[
    "network/connect_response",
    "proto/error",
    "proto/event",
    "proto/state",
    "telemetry/metrics",
    "telemetry/status",
    "tunnel/error",
    "tunnel/resume",
];

/// Names of cupboards, not of rooms.
pub(super) const CUPBOARDS: &[&str] = &[
    "common",
    "constants",
    "helper",
    "helpers",
    "manager",
    "misc",
    "util",
    "utils",
];

/// Lines that no file exceeds, its tests included.
pub(super) const LONGEST: usize = 400;
