//! Settings of one table: which are set, and their values.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::config::check::typed_value::TypedValue;
use crate::config::check::value::{default, meaning};
use crate::config::diagnostic::{Finding, Findings};
use crate::config::document::{Entry, Table};
use crate::config::model::{Listen, Remote, Targets};
use crate::config::settings::{Section, Setting, Shape};
use crate::config::source::shortened;
use crate::config::suggest::nearest;

/// A table, checked key by key.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// How messages refer to this table.
    pub(super) scope: String,
    /// Range of its header.
    pub(super) header: Range<usize>,
    section: Section,
    /// Keys set in this table: range of the value, and the value if valid.
    given: Entries,
    /// Keys set in `[defaults]`.
    inherited: Entries,
}

/// Keys with the range of their value, and the value if valid.
pub(super) type Entries = BTreeMap<&'static str, (Range<usize>, Option<TypedValue>)>;

impl Fields {
    /// Checks each key and value of a table.
    pub(super) fn read(
        table: &Table,
        section: Section,
        scope: String,
        findings: &mut Findings,
    ) -> Self {
        let mut fields = Self {
            scope,
            header: table.span.clone(),
            section,
            given: BTreeMap::new(),
            inherited: BTreeMap::new(),
        };
        let mut meant = Vec::new();
        for entry in &table.entries {
            match section.setting(&entry.key) {
                Some(setting) => fields.take(setting, entry, findings),
                None => {
                    meant.extend(nearest(&entry.key, section.keys()));
                    findings.add(fields.unknown(entry));
                }
            }
        }
        fields.find_missing(&meant, findings);
        fields
    }

    /// Returns an absent table, in which every key has its default.
    pub(super) fn absent(section: Section) -> Self {
        Self {
            scope: section.header(),
            header: 0..0,
            section,
            given: BTreeMap::new(),
            inherited: BTreeMap::new(),
        }
    }

    /// Returns whether the section may occur more than once.
    pub(super) fn is_many(&self) -> bool {
        matches!(self.section.shape, Shape::Many)
    }

    /// Takes settings that are absent here from `defaults`.
    pub(super) fn inheriting(mut self, defaults: Option<&Self>) -> Self {
        self.inherited = defaults.map(|d| d.given.clone()).unwrap_or_default();
        self
    }

    fn take(&mut self, setting: &'static Setting, entry: &Entry, findings: &mut Findings) {
        let meaning = meaning(setting, &entry.value);
        for (span, fault) in meaning.as_ref().err().into_iter().flatten() {
            let what = format!("{}: `{}`: {fault}", self.scope, setting.key);
            findings.add(Finding::new(span.clone(), what, fault.hint()));
        }
        let given = (entry.value.span.clone(), meaning.ok());
        self.given.insert(setting.key, given);
    }

    fn unknown(&self, entry: &Entry) -> Finding {
        let what = format!("{}: unknown key `{}`", self.scope, shortened(&entry.key));
        let hint = match Section::home_of(&entry.key) {
            Some(home) => format!("move it to {}", home.header()),
            None => self.spelling_hint(&entry.key),
        };
        Finding::new(entry.span.clone(), what, hint)
    }

    fn spelling_hint(&self, key: &str) -> String {
        match nearest(key, self.section.keys()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!(
                "the keys of {} are {}",
                self.section.header(),
                self.section.keys().collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// Reports missing required keys, except those in `meant`, which were probably misspelled.
    fn find_missing(&self, meant: &[&str], findings: &mut Findings) {
        let required = self.section.settings.iter().filter(|s| s.is_required());
        let missing: Vec<_> = required
            .filter(|s| !self.given.contains_key(s.key) && !meant.contains(&s.key))
            .collect();
        if missing.is_empty() {
            return;
        }
        let keys: Vec<_> = missing.iter().map(|s| format!("`{}`", s.key)).collect();
        let lines: Vec<_> = missing
            .iter()
            .map(|s| format!("`{} = {}`", s.key, s.example))
            .collect();
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let what = format!("{}: {} {verb} missing", self.scope, keys.join(", "));
        let hint = format!("add, for example, {}", lines.join(", "));
        findings.add(Finding::new(self.header.clone(), what, hint).absence());
    }

    /// Returns the range of a value set in this table.
    pub(super) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.given.get(key).map(|(span, _)| span.clone())
    }

    /// Returns the range of a value set in this table or in `[defaults]`.
    pub(super) fn place(&self, key: &str) -> Option<Range<usize>> {
        let inherited = || self.inherited.get(key).map(|(span, _)| span.clone());
        self.span(key).or_else(inherited)
    }

    /// Returns the value of a key: from this table, else from `[defaults]`, else the default.
    /// `None` if there is no default or the value is invalid.
    pub(super) fn meaning(&self, key: &str) -> Option<TypedValue> {
        match self.given.get(key).or_else(|| self.inherited.get(key)) {
            Some((_, meaning)) => meaning.clone(),
            None => self.section.setting(key).and_then(default),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let TypedValue::Flag(value) = self.meaning(key)? else {
            return None;
        };
        Some(value)
    }

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        let TypedValue::Duration(value) = self.meaning(key)? else {
            return None;
        };
        Some(value)
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        let TypedValue::Text(value) = self.meaning(key)? else {
            return None;
        };
        Some(value)
    }

    pub(super) fn addresses(&self, key: &str) -> Option<Vec<(Listen, Range<usize>)>> {
        let TypedValue::Listen(value) = self.meaning(key)? else {
            return None;
        };
        Some(value)
    }

    pub(super) fn hosts(&self, key: &str) -> Option<Vec<String>> {
        let TypedValue::Hosts(value) = self.meaning(key)? else {
            return None;
        };
        Some(value)
    }

    pub(super) fn target(&self, key: &str) -> Option<Targets> {
        let TypedValue::Target(value) = self.meaning(key)? else {
            return None;
        };
        Some(value)
    }

    pub(super) fn remote(&self, key: &str) -> Option<Remote> {
        let TypedValue::Remote(value) = self.meaning(key)? else {
            return None;
        };
        Some(value)
    }

    /// Returns a number; its permitted range must fit into `T`.
    pub(super) fn number<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        let TypedValue::Number(value) = self.meaning(key)? else {
            return None;
        };
        value.try_into().ok()
    }
}
