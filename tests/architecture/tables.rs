//! The tables of `ARCHITECTURE.md`, section 4, as data.
//!
//! A *place* is a file or folder of `src` without `src/` and `.rs`: `wire/message` is the file
//! `wire/message.rs`, or the folder of that name and everything in it. A place that ends with `*`
//! is every file whose name begins with the rest.

/// Each top-level module and the modules that it may import.
pub(super) const MODULES: &[(&str, &[&str])] = &[
    ("printable", &[]),
    ("clock", &[]),
    ("error_class", &[]),
    ("blocking", &["clock"]),
    ("random", &[]),
    ("mutants", &[]),
    ("virtual_net", &["clock"]),
    ("duration", &[]),
    ("quantity", &[]),
    ("files", &[]),
    ("wire", &[]),
    ("network", &["error_class", "files", "printable"]),
    ("config", &["duration", "files", "printable"]),
    ("telemetry", &["clock", "error_class", "printable"]),
    ("panics", &["printable"]),
    (
        "session",
        &[
            "blocking",
            "clock",
            "error_class",
            "files",
            "network",
            "panics",
            "printable",
        ],
    ),
    ("proto", &["clock", "error_class", "wire", "printable"]),
    ("bundle", &["clock", "printable"]),
    ("compression", &[]),
    (
        "bundle_driver",
        &["bundle", "clock", "compression", "printable"],
    ),
    (
        "tunnel",
        &[
            "random",
            "clock",
            "error_class",
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
            "blocking",
            "bundle",
            "bundle_driver",
            "clock",
            "error_class",
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
            "blocking",
            "random",
            "clock",
            "error_class",
            "forward",
            "tunnel",
            "proto",
            "session",
            "network",
            "config",
            "telemetry",
            "panics",
            "printable",
            "quantity",
        ],
    ),
    (
        "relay",
        &[
            "blocking",
            "bundle",
            "bundle_driver",
            "clock",
            "config",
            "network",
            "printable",
        ],
    ),
    ("sim", &["clock", "duration", "wire"]),
    (
        "cli",
        &[
            "clock",
            "duration",
            "error_class",
            "files",
            "daemon",
            "forward",
            "relay",
            "sim",
            "proto",
            "session",
            "network",
            "config",
            "telemetry",
            "panics",
            "printable",
            "quantity",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// The modules that the unit tests of every module may import too.
pub(super) const TEST_SUPPORT: &[&str] = &["mutants", "sim", "virtual_net"];

/// Files of unit tests besides `tests.rs` and the folders `tests`. Their module is declared under
/// `cfg(test)`.
pub(super) const TEST_ONLY: &[&str] = &[
    "cli/top/test_reports",
    "clock/virtual_time",
    "daemon/lives",
    "forward/client/virtually",
    "forward/listener/virtually",
    "mutants",
    "session/aws/virtual_http",
    "session/aws/virtual_provider",
    "virtual_net",
];

/// Modules that may re-export names of another module.
pub(super) const REEXPORTS: &[(&str, &str)] = &[("proto", "wire")];

/// The files in which an external crate, or a part of `std`, may be named.
pub(super) enum Places {
    At(&'static [&'static str]),
    AnywhereBut(&'static [&'static str]),
}

use Places::{AnywhereBut, At};

/// Each external crate and the places that may name it.
pub(super) const CRATES: &[(&str, Places)] = &[
    ("aws-config", At(&["session/aws", "session/target"])),
    (
        "aws-credential-types",
        At(&["session/aws", "session/database_token", "session/sigv4"]),
    ),
    ("aws-sdk-ecs", At(&["session/aws"])),
    ("aws-sdk-ec2instanceconnect", At(&["session/aws"])),
    ("aws-sdk-ssm", At(&["session/aws", "session/target"])),
    ("aws-sdk-sso", At(&["session/aws/sso"])),
    ("aws-sdk-ssooidc", At(&["session/aws/sso"])),
    (
        "aws-sdk-sts",
        At(&["session/aws/caller", "session/aws/cause", "session/aws/mfa"]),
    ),
    (
        "aws-sigv4",
        At(&["session/database_token", "session/sigv4", "sim/signature"]),
    ),
    ("aws-smithy-http-client", At(&["session/aws"])),
    ("aws-smithy-runtime-api", At(&["session/aws/body_limit"])),
    (
        "aws-smithy-types",
        At(&["sim/signature", "session/aws/body_limit"]),
    ),
    ("aws-types", At(&["session/aws"])),
    ("base64", At(&["network/roots", "session/public_key"])),
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
            "forward/proxy/tests",
            "sim",
            "cli/demo/socket",
            "files",
            "random",
        ]),
    ),
    ("futures-util", At(&["session/aws", "tunnel", "sim"])),
    ("hex", At(&["sim", "cli/demo"])),
    (
        "http",
        At(&["network/proxy", "session/stream_url", "session/sigv4"]),
    ),
    (
        "http-body-util",
        At(&["daemon", "relay/http_server", "sim", "session/aws"]),
    ),
    (
        "httparse",
        At(&[
            "forward/explain/http_response",
            "forward/proxy/connect",
            "network/connect_response",
        ]),
    ),
    ("humantime", At(&["duration", "telemetry/log"])),
    ("hyper", At(&["daemon", "relay/http_server", "sim"])),
    (
        "hyper-util",
        At(&["network/proxy", "daemon", "relay/http_server", "sim"]),
    ),
    (
        "percent-encoding",
        At(&["session/database_token", "sim/signature"]),
    ),
    (
        "prometheus-client",
        At(&["telemetry/timings", "daemon/http/prometheus"]),
    ),
    ("ratatui", At(&["cli/top"])),
    ("rcgen", At(&["sim", "network/certificate"])),
    (
        "rustix",
        At(&[
            "cli/exec",
            "cli/admin_socket_path",
            "cli/terminal",
            "cli/top",
            "daemon/admin",
            "daemon/fd_limit",
            "daemon/http/prometheus",
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
    ("serde", At(SERIALIZES)),
    ("serde_json", At(SERIALIZES)),
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
    ("socket2", At(&["network", "forward", "relay", "sim"])),
    ("strsim", At(&["config/suggest"])),
    ("thiserror", AnywhereBut(&[])),
    ("tokio", At(USES_TOKIO)),
    ("tokio-rustls", At(&["network", "sim"])),
    ("tokio-tungstenite", At(&["tunnel/websocket", "sim"])),
    ("toml", At(&["config/document"])),
    ("tracing", AnywhereBut(&["wire", "config"])),
    ("tracing-subscriber", At(&["telemetry/log"])),
    ("unicode-width", At(&["cli/cells"])),
    ("uuid", At(&["wire/message", "proto", "tunnel", "sim"])),
    ("zstd", At(&["compression"])),
    ("std::env", At(&["cli", "session/aws/process"])),
];

/// Places that serialize and deserialize.
const SERIALIZES: &[&str] = &[
    "printable",
    "wire/payload",
    "config/document",
    "telemetry/status",
    "telemetry/forward_detail",
    "telemetry/relay_report",
    "daemon/admin",
    "daemon/forwards",
    "daemon/http",
    "forward/explain/http_response",
    "relay/pages",
    "session/journal",
    "session/aws/process",
    "session/aws/sso",
    "sim",
    "cli",
];

/// Modules that may use tokio, except their pure files.
const USES_TOKIO: &[&str] = &[
    "blocking",
    "bundle_driver",
    "clock",
    "network",
    "session",
    "tunnel",
    "forward",
    "daemon",
    "relay",
    "sim",
    "cli",
];

/// Maximum number of lines of a file, tests included.
pub(super) const MAX_LINES: usize = 400;
