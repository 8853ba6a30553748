//! Table of all settings: key, accepted values, default and description.
//!
//! This table drives the check and everything else that lists settings. To add a setting, add its
//! row here, its field in the model, and the line in `check` that assigns it.
//!
//! Specification: docs/interfaces.md, sections 2 and 8. Ranges not given there are chosen here,
//! wide enough for every sensible use and narrow enough to catch a wrong unit.

mod aws;
mod table;

use std::time::Duration;

pub use crate::config::settings::table::{
    ADMIN, AWS, DEFAULTS, FORWARD, HTTP, LIMITS, LOG, PER_CONNECTION, SECTIONS, SHARED, SHUTDOWN,
};

/// A table of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Table key, as in `[aws]`.
    pub name: &'static str,
    /// Whether it may occur more than once.
    pub shape: Shape,
    /// Accepted keys.
    pub settings: &'static [Setting],
    /// Description.
    pub doc: &'static str,
}

impl Section {
    /// Returns the row of a key.
    pub fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// Returns the accepted keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.settings.iter().map(|setting| setting.key)
    }

    /// Returns the section that has a key of this name.
    pub fn home_of(key: &str) -> Option<&'static Self> {
        let knows = |section: &&Self| section.setting(key).is_some();
        SECTIONS.iter().find(knows)
    }

    /// Returns the header as written in the file.
    pub fn header(&self) -> String {
        match self.shape {
            Shape::One => format!("[{}]", self.name),
            Shape::Many => format!("[[{}]]", self.name),
        }
    }
}

/// How often a section occurs in a file.
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
    /// Key as written in the file.
    pub key: &'static str,
    /// Accepted values.
    pub kind: Kind,
    /// Behaviour if absent.
    pub absent: Absent,
    /// A valid value, as written in the file.
    pub example: &'static str,
    /// Description: one sentence without a full stop.
    pub doc: &'static str,
}

impl Setting {
    /// Returns whether the setting must be present in its section.
    pub fn is_required(&self) -> bool {
        matches!(self.absent, Absent::Problem)
    }
}

/// Accepted values of a setting. Ranges are inclusive.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// An integer.
    Number {
        /// Minimum.
        min: u64,
        /// Maximum.
        max: u64,
    },
    /// A duration, such as `"30s"`.
    Duration {
        /// Minimum.
        min: Duration,
        /// Maximum.
        max: Duration,
    },
    /// A size in bytes, such as `"256KiB"`.
    Size {
        /// Minimum in bytes.
        min: u64,
        /// Maximum in bytes.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Name of a forward: 1 to 64 of `[A-Za-z0-9_.-]`, starting with a letter or digit.
    Name,
    /// Name of a region.
    Region,
    /// Name of a profile.
    Profile,
    /// ARN of a role.
    Role,
    /// An `https://` URL, or an `http://` URL of a loopback address.
    Endpoint,
    /// An `https://` or `wss://` URL without a path; without TLS only for a loopback address.
    Gateway,
    /// An `http://` URL, which may contain a user and a password.
    Proxy,
    /// Version of the AWS client: four numbers.
    ClientVersion,
    /// An absolute path.
    File,
    /// An absolute path that fits into a Unix socket address.
    Socket,
    /// A local address or an array of them.
    Listen,
    /// An array of host names.
    Hosts,
    /// File permissions in octal digits, such as `"0600"`.
    Mode,
    /// A managed node by id or tags, or an array of them.
    Target,
    /// A destination.
    Remote,
    /// Name or ARN of an SSM document.
    Document,
}

/// Behaviour if a setting is absent.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// The setting is required.
    Problem,
    /// No default; the description says what absence means.
    Nothing,
    /// Default text.
    Text(&'static str),
    /// Default number.
    Number(u32),
    /// Default flag.
    Flag(bool),
}
