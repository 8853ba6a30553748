//! Every setting: its key, what it may hold, its default, and a sentence about it.
//!
//! This table drives the check, and whatever else wants to know what can be written. To add a
//! setting, add its row here, its field to the model, and the line in `check` that moves the one
//! into the other.
//!
//! Specification: interfaces.md sections 2 and 8. Ranges that it does not give are chosen here,
//! each wide enough for every sensible use and narrow enough to catch a wrong unit.

mod aws;
mod table;

use std::time::Duration;

pub use crate::config::settings::table::{
    ADMIN, AWS, DEFAULTS, FORWARD, HTTP, LIMITS, LOG, PER_CONNECTION, SECTIONS, SHARED, SHUTDOWN,
};

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

    /// The keys that may stand in it.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.settings.iter().map(|setting| setting.key)
    }

    /// The section in which this version knows a key.
    pub fn home_of(key: &str) -> Option<&'static Self> {
        let knows = |section: &&Self| section.setting(key).is_some();
        SECTIONS.iter().find(knows)
    }

    /// As a person writes its header.
    pub fn header(&self) -> String {
        match self.shape {
            Shape::One => format!("[{}]", self.name),
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
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The name of a forward: 1 to 64 of `[A-Za-z0-9_.-]`, a letter or digit first.
    Name,
    /// The name of a region.
    Region,
    /// The name of a profile.
    Profile,
    /// The ARN of a role.
    Role,
    /// An `https://` URL, or an `http://` URL of a loopback address.
    Endpoint,
    /// An `https://` or `wss://` URL without a path, or one without TLS of a loopback address.
    Gateway,
    /// An `http://` URL, which may hold a user and a password.
    Proxy,
    /// A version of AWS's client: four numbers.
    ClientVersion,
    /// An absolute path.
    File,
    /// An absolute path that fits into the address of a Unix socket.
    Socket,
    /// A local address or an array of them.
    Listen,
    /// An array of names of hosts.
    Hosts,
    /// Permissions of a file in octal digits, such as `"0600"`.
    Mode,
    /// A managed node by its id or its tags, or an array of them.
    Target,
    /// A destination.
    Remote,
    /// The name or ARN of an SSM document.
    Document,
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
