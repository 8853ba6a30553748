//! Names that the rules forbid or permit.

/// Names that are forbidden in a pure file, as the beginning of a path.
pub(super) const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
];

/// Names of `std::net` that are allowed in a pure file: addresses, not sockets.
pub(super) const ADDRESSES: &[&str] = &[
    "AddrParseError",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
];

/// Module names that do not describe the content.
pub(super) const VAGUE_NAMES: &[&str] = &[
    "common",
    "constants",
    "helper",
    "helpers",
    "manager",
    "misc",
    "util",
    "utils",
];
