//! Table of all settings: key, accepted values, default and description.
//!
//! The checks, the defaults, the JSON Schema and the tests of the reference documentation follow
//! from this table. To add a setting, add its row here, its field in the model, and the line in
//! `check` that assigns it.
//!
//! Specification: docs/interfaces.md, sections 2 and 8. Ranges not given there are chosen here,
//! wide enough for every sensible use and narrow enough to catch a wrong unit.

mod table;

use std::time::Duration;

use crate::config::diagnostic::ValueError;
pub use crate::config::settings::table::{
    ADMIN, AWS, DEFAULTS, FORWARD, HTTP, LIMITS, LOG, PROXY, SECTIONS, SHUTDOWN,
};

/// A table of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Table key, as in `[aws]`.
    pub name: &'static str,
    /// Whether it may occur more than once.
    pub shape: Cardinality,
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
    pub fn section_with_key(key: &str) -> Option<&'static Self> {
        let knows = |section: &&Self| section.setting(key).is_some();
        SECTIONS.iter().find(knows)
    }

    /// Returns the header as written in the file.
    pub fn header(&self) -> String {
        match self.shape {
            Cardinality::Single => format!("[{}]", self.name),
            Cardinality::Array => format!("[[{}]]", self.name),
        }
    }
}

/// How often a section occurs in a file.
#[derive(Clone, Copy, Debug)]
pub enum Cardinality {
    /// `[name]`, once or not at all.
    Single,
    /// `[[name]]`, at least once.
    Array,
}

/// A key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key as written in the file.
    pub key: &'static str,
    /// Accepted values.
    pub kind: Kind,
    /// Behaviour if absent.
    pub absent: Default,
    /// Description: one sentence without a full stop.
    pub doc: &'static str,
    /// A valid value, as written in the file; empty: the default is the example.
    example: &'static str,
}

impl Setting {
    /// Creates a row without description.
    const fn new(key: &'static str, kind: Kind, absent: Default, example: &'static str) -> Self {
        let doc = "";
        Self {
            key,
            kind,
            absent,
            doc,
            example,
        }
    }

    /// Sets the description.
    const fn doc(self, doc: &'static str) -> Self {
        Self { doc, ..self }
    }

    /// Returns whether the setting must be present in its section.
    pub fn is_required(&self) -> bool {
        self.alternatives().is_some_and(<[_]>::is_empty)
    }

    /// Returns the keys one of which must be present if the setting is not; `None`: it is optional.
    pub fn alternatives(&self) -> Option<&'static [&'static str]> {
        match self.absent {
            Default::Required => Some(&[]),
            Default::Unless(others) => Some(others),
            Default::None | Default::Text(_) | Default::Number(_) | Default::Flag(_) => None,
        }
    }

    /// Returns a line with a valid value, as written in the file.
    pub fn example(&self) -> String {
        match (self.example, self.absent) {
            ("", Default::Text(default)) => format!("{} = \"{default}\"", self.key),
            ("", Default::Number(default)) => format!("{} = {default}", self.key),
            (example, _) => format!("{} = {example}", self.key),
        }
    }
}

/// Accepted values of a setting. Ranges are inclusive.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// An integer, from minimum to maximum.
    Number(u64, u64),
    /// A duration such as `"30s"`, from minimum to maximum.
    Duration(Duration, Duration),
    /// A size such as `"256KiB"`, from minimum to maximum in bytes.
    Size(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A string of this pattern of the JSON Schema, which passes this check.
    Text(&'static str, TextCheck),
    /// A local address or an array of them.
    Listen,
    /// An array of host names.
    Hosts,
    /// A managed node by id or tags, or an array of them.
    Target,
    /// A destination.
    Remote,
    /// An array of rules for destinations.
    Allow,
    /// A table of document parameters, each with a string or an array of strings.
    Parameters,
}

/// Checks a string.
pub type TextCheck = fn(&str) -> Result<(), ValueError>;

/// Behaviour if a setting is absent.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// The setting is required.
    Required,
    /// The setting is required unless one of these is present.
    Unless(&'static [&'static str]),
    /// No default; the description says what absence means.
    None,
    /// Default text.
    Text(&'static str),
    /// Default number.
    Number(u32),
    /// Default flag.
    Flag(bool),
}
