//! Settings of one table: which are set, and their values.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::check::address::{HostAddress, ListenAddress};
use crate::config::check::value::{Addresses, FromValue, WrittenAddresses, default, errors};
use crate::config::diagnostic::{Finding, Findings};
use crate::config::document::{KeyValue, Table, Value};
use crate::config::settings::{Cardinality, PROXY, Section, Setting};
use crate::config::source::truncated;
use crate::config::suggest::closest_match;

/// A table, checked key by key.
#[derive(Clone, Debug)]
pub(super) struct SectionKeys<'a> {
    /// How messages refer to this table.
    pub(super) scope: String,
    section: Section,
    /// Values set in this table, valid or not.
    own: Values<'a>,
    /// Values set in `[defaults]`.
    inherited: Values<'a>,
    /// The address of its remote host, which `listen` may refer to.
    pub(super) host_address: Option<HostAddress>,
}

type Values<'a> = BTreeMap<&'static str, &'a Value>;

impl<'a> SectionKeys<'a> {
    /// Checks each key and value of a table. Settings that are absent are taken from `defaults`.
    pub(super) fn read(
        table: &'a Table,
        section: Section,
        scope: String,
        defaults: Option<&Self>,
        findings: &mut Findings,
    ) -> Self {
        let mut checked = Self {
            scope,
            inherited: defaults.map(|d| d.own.clone()).unwrap_or_default(),
            ..Self::absent(section)
        };
        let mut meant = Vec::new();
        for entry in &table.entries {
            match section.setting(&entry.key) {
                Some(setting) => checked.take(setting, &entry.value, findings),
                None => {
                    meant.extend(closest_match(&entry.key, section.keys()));
                    findings.add(checked.unknown(entry));
                }
            }
        }
        // A required key that was probably misspelled is not missing.
        let is_meant = |key: &&str| checked.set(key).is_some() || meant.contains(key);
        let is_missing = |setting: &&Setting| {
            let others = setting.alternatives();
            others.is_some_and(|others| !is_meant(&setting.key) && !others.iter().any(is_meant))
        };
        let missing: Vec<_> = section.settings.iter().filter(is_missing).collect();
        if !missing.is_empty() {
            findings.add(checked.missing(&missing, table.span.clone()));
        }
        checked
    }

    /// Returns an absent table, in which every key has its default.
    pub(super) fn absent(section: Section) -> Self {
        Self {
            scope: section.header(),
            section,
            own: BTreeMap::new(),
            inherited: BTreeMap::new(),
            host_address: None,
        }
    }

    fn take(&mut self, setting: &'static Setting, value: &'a Value, findings: &mut Findings) {
        for (span, error) in errors(setting, value) {
            let what = format!("`{}`: {error}", setting.key);
            findings.add(self.finding(span, what, error.hint()));
        }
        self.own.insert(setting.key, value);
    }

    fn unknown(&self, entry: &KeyValue) -> Finding {
        let home = Section::section_with_key(&entry.key);
        let hint = match (home, closest_match(&entry.key, self.section.keys())) {
            (Some(home), _) => format!("move it to {}", home.header()),
            (None, Some(meant)) => format!("did you mean `{meant}`?"),
            (None, None) => {
                let keys: Vec<_> = self.section.keys().collect();
                format!(
                    "the keys of {} are {}",
                    self.section.header(),
                    keys.join(", ")
                )
            }
        };
        if self.is_of(PROXY) && RELAY_KEYS.contains(&entry.key.as_str()) {
            let what = format!("`{}`: a proxy cannot use a relay", entry.key);
            return self.finding(entry.span.clone(), what, RELAY_HINT);
        }
        let what = format!("unknown key `{}`", truncated(&entry.key));
        self.finding(entry.span.clone(), what, hint)
    }

    fn missing(&self, missing: &[&Setting], header: Range<usize>) -> Finding {
        let join = |texts: Vec<String>| texts.join(", ");
        let keys = join(missing.iter().map(|s| format!("`{}`", s.key)).collect());
        let lines = join(
            missing
                .iter()
                .map(|s| format!("`{}`", s.example()))
                .collect(),
        );
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let hint = format!("add, for example, {lines}");
        self.finding(header, format!("{keys} {verb} missing"), hint)
            .missing_key()
    }

    /// Creates a finding whose message begins with the name of this table.
    pub(super) fn finding(
        &self,
        span: Range<usize>,
        what: impl std::fmt::Display,
        hint: impl Into<String>,
    ) -> Finding {
        Finding::new(span, format!("{}: {what}", self.scope), hint)
    }

    /// Returns whether it is the table of a section.
    pub(super) fn is_of(&self, section: Section) -> bool {
        self.section.name == section.name
    }

    /// Returns whether the section may occur more than once.
    pub(super) fn is_many(&self) -> bool {
        matches!(self.section.shape, Cardinality::Array)
    }

    /// Returns the range of a value set in this table.
    pub(super) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.own.get(key).map(|value| value.span.clone())
    }

    /// Returns the range of a value set in this table or in `[defaults]`.
    pub(super) fn span_or_inherited(&self, key: &str) -> Option<Range<usize>> {
        self.set(key).map(|value| value.span.clone())
    }

    /// Returns the value of a key: from this table, else from `[defaults]`, else the default.
    /// `None` if there is no default or the value is invalid.
    pub(super) fn get<T: FromValue>(&self, key: &str) -> Option<T> {
        let setting = self.section.setting(key)?;
        match self.set(key) {
            Some(value) => T::from_value(setting, value).ok(),
            None => T::from_value(setting, &default(setting)?).ok(),
        }
    }

    /// Returns a number; its permitted range must fit into `T`.
    pub(super) fn number<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        self.get::<u64>(key)?.try_into().ok()
    }

    /// Returns the addresses to listen on; none if they are absent or invalid.
    pub(super) fn addresses(&self) -> Addresses {
        let written: WrittenAddresses = self.get("listen").unwrap_or_default();
        let resolve = |(listen, span): (ListenAddress, _)| {
            let listen = listen.resolve(self.host_address)?;
            Some((listen, span))
        };
        written.into_iter().filter_map(resolve).collect()
    }

    fn set(&self, key: &str) -> Option<&'a Value> {
        self.own
            .get(key)
            .or_else(|| self.inherited.get(key))
            .copied()
    }
}

/// Keys of a forward with a relay.
const RELAY_KEYS: [&str; 2] = ["relay", "stripes"];
const RELAY_HINT: &str =
    "remove it, or use a [[forward]] for each destination that needs several sessions";
