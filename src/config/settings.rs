//! Every setting: its key, what it may hold, its default, and a sentence about it.
//!
//! This table drives the check, and whatever else wants to know what can be written. To add a
//! setting, add its row here, its field to the model, and the line in `check` that moves the one
//! into the other. Rows of kind [`Kind::Later`] are keys of versions to come: they are not taken
//! for slips of the finger, and not accepted in silence either.
//!
//! Specification: interfaces.md sections 2 and 8. Ranges that it does not give are chosen here,
//! each wide enough for every sensible use and narrow enough to catch a wrong unit.

use std::time::Duration;

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its key, as in `[aws]`.
    pub name: &'static str,
    /// Whether it may stand more than once.
    pub shape: Shape,
    /// The keys that may stand in it.
    pub settings: &'static [Setting],
    /// What it is for.
    pub doc: &'static str,
}

impl Section {
    /// The row of a key.
    pub fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// As a person writes its header.
    pub fn header(&self) -> String {
        match self.shape {
            Shape::One | Shape::Later { .. } => format!("[{}]", self.name),
            Shape::Many => format!("[[{}]]", self.name),
        }
    }
}

/// How often a section stands in a file.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// `[name]`, once or not at all.
    One,
    /// `[[name]]`, at least once.
    Many,
    /// Not in this version.
    Later {
        /// What this version does without it.
        instead: &'static str,
    },
}

/// A key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// As written in the file.
    pub key: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What holds if it is absent.
    pub absent: Absent,
    /// A value that would be good, as written in the file.
    pub example: &'static str,
    /// What it is for, in one sentence without its stop.
    pub doc: &'static str,
}

impl Setting {
    /// Whether its section cannot do without it.
    pub fn is_required(&self) -> bool {
        matches!(self.absent, Absent::Problem)
    }

    /// Whether this version knows it.
    pub fn is_supported(&self) -> bool {
        !matches!(self.kind, Kind::Later { .. })
    }
}

/// What a setting may hold. Ranges are inclusive.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// An amount of time, such as `"30s"`.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// An amount of bytes, such as `"256KiB"`.
    Size {
        /// The least, in bytes.
        min: u64,
        /// The most, in bytes.
        max: u64,
    },
    /// The name of a forward: 1 to 64 of `[A-Za-z0-9_.-]`, a letter or digit first.
    Name,
    /// The name of a region.
    Region,
    /// The name of a profile.
    Profile,
    /// An `https://` URL, or an `http://` URL of a loopback address.
    Endpoint,
    /// An absolute path.
    File,
    /// A local address or an array of them.
    Listen,
    /// A managed node.
    Target,
    /// A destination.
    Remote,
    /// The name or ARN of an SSM document.
    Document,
    /// Not in this version.
    Later {
        /// What this version does without it.
        instead: &'static str,
    },
}

/// What holds if a setting is absent.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// It must be there.
    Problem,
    /// Nothing: the setting's sentence says what that means.
    Nothing,
    /// As if this had been written.
    Text(&'static str),
    /// As if this had been written.
    Number(u32),
    /// As if this had been written.
    Flag(bool),
}

/// Every table that may stand in a file.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "aws",
        shape: Shape::One,
        settings: AWS,
        doc: "How to reach AWS; what is absent comes from the usual AWS environment and files",
    },
    FORWARD,
    section_later("limits", "each forward has its own `max_connections`"),
    section_later("shutdown", "a stop ends every session at once"),
    section_later(
        "log",
        "the environment variable SSM_PROXYD_LOG sets the level",
    ),
    section_later("http", "nothing is served over HTTP"),
    section_later("admin", "there is no admin socket"),
    section_later("defaults", "write the setting into each [[forward]]"),
];

/// `[[forward]]`.
pub const FORWARD: Section = Section {
    name: "forward",
    shape: Shape::Many,
    settings: FORWARD_SETTINGS,
    doc: "A local address, and the destination that its connections reach through a target",
};

const AWS: &[Setting] = &[
    Setting {
        key: "region",
        kind: Kind::Region,
        absent: Absent::Nothing,
        example: "\"eu-west-1\"",
        doc: "The region of the targets; absent: as for every AWS program",
    },
    Setting {
        key: "profile",
        kind: Kind::Profile,
        absent: Absent::Nothing,
        example: "\"prod\"",
        doc: "The profile in ~/.aws/config; absent: as for every AWS program",
    },
    Setting {
        key: "ssm_endpoint",
        kind: Kind::Endpoint,
        absent: Absent::Nothing,
        example: "\"https://vpce-0123-abcd.ssm.eu-west-1.vpce.amazonaws.com\"",
        doc: "Another address of the SSM API, such as a VPC endpoint; http:// only to loopback",
    },
    Setting {
        key: "ca_bundle",
        kind: Kind::File,
        absent: Absent::Nothing,
        example: "\"/etc/ssl/company.pem\"",
        doc: "Certificates in PEM to trust besides the platform's",
    },
    later("role_arn", "a profile in ~/.aws/config may name a role"),
    later(
        "ssmmessages_endpoint",
        "the address that StartSession returns is dialled",
    ),
    later("proxy", "connections to AWS are direct"),
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
        doc: "The managed node that runs the agent: an instance (i-…), a hybrid node (mi-…) or an ECS task",
    },
    Setting {
        key: "remote",
        kind: Kind::Remote,
        absent: Absent::Problem,
        example: "\"db.internal:5432\"",
        doc: "What the agent dials: host and port, or a port alone for the target itself",
    },
    Setting {
        key: "document",
        kind: Kind::Document,
        absent: Absent::Nothing,
        example: "\"AWS-StartPortForwardingSessionToRemoteHost\"",
        doc: "The SSM document; absent: AWS-StartPortForwardingSession, with ToRemoteHost if `remote` has a host",
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
    Setting {
        key: "allow_remote_clients",
        kind: Kind::Flag,
        absent: Absent::Flag(false),
        example: "true",
        doc: "Whether `listen` may hold an address that other machines can reach",
    },
    later("sessions", "every connection has a session of its own"),
    later("warm", "no session is kept ready"),
    later("warm_max_age", "no session is kept ready"),
    later("max_streams", "every connection has a session of its own"),
    later("max_session_age", "a session ends with its connection"),
    later("resume_timeout", "it cannot be changed"),
    later(
        "keep_alive",
        "an open connection does not keep its session from idling out",
    ),
    later("mode", "there are no Unix sockets"),
    later("region", "[aws] region holds for every forward"),
    later("profile", "[aws] profile holds for every forward"),
    later("role_arn", "a profile in ~/.aws/config may name a role"),
];

const fn later(key: &'static str, instead: &'static str) -> Setting {
    Setting {
        key,
        kind: Kind::Later { instead },
        absent: Absent::Nothing,
        example: "",
        doc: "Not in this version",
    }
}

const fn section_later(name: &'static str, instead: &'static str) -> Section {
    Section {
        name,
        shape: Shape::Later { instead },
        settings: &[],
        doc: "Not in this version",
    }
}

/// Seconds.
const MINUTE: u64 = 60;

/// Bytes.
const KIB: u64 = 1024;
