//! AWS's shared configuration and credentials files.
//!
//! The SDK's own parser rejects files that the AWS CLI accepts, and then behaves as if they did not
//! exist. The files are therefore parsed here, as leniently as in the CLI, and the SDK gets a text
//! that it accepts: [`Profiles::for_sdk`]. This also allows reading them again at any time; an SDK
//! provider reads them only once.
//!
//! ```text
//!   ~/.aws/config ──────┐ ini::parse
//!   ~/.aws/credentials ─┴────────────▶ Profiles ── for_sdk ──▶ the SDK's profile provider
//! ```
//!
//! A profile whose name the SDK rejects (spaces, non-ASCII letters) has an alias in that text.

mod chain;
mod ini;
mod read;
mod render;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use self::ini::IniSection;
pub(super) use self::read::in_home;

/// The keys of a section. Values may be secrets.
pub(super) type SectionKeys = BTreeMap<String, String>;

/// The profiles of both files. Keys of the credentials file have priority, as in the AWS CLI.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Profiles {
    profiles: BTreeMap<String, SectionKeys>,
    sso_sessions: BTreeMap<String, SectionKeys>,
    services: BTreeMap<String, SectionKeys>,
    problems: Vec<Problem>,
    /// Sections that would be a profile with another header, by the name of that profile.
    misnamed: BTreeMap<String, Problem>,
    /// The files that do not exist.
    absent: Vec<PathBuf>,
}

/// A problem in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {why}", path.display(), in_line(*line))]
pub(super) struct Problem {
    pub(super) path: PathBuf,
    /// From 1; 0 for the file as a whole.
    pub(super) line: usize,
    pub(super) why: String,
}

fn in_line(line: usize) -> String {
    match line {
        0 => String::new(),
        line => format!(":{line}"),
    }
}

impl Profiles {
    /// Adds the text of a configuration file.
    pub(super) fn add_config(&mut self, path: &Path, text: &str) {
        for section in self.sections(path, text) {
            match shell_words(&section.header).as_deref() {
                Some([name]) if name == DEFAULT => self.add_profile(DEFAULT, section.keys),
                Some([kind, name]) if kind == "profile" => self.add_profile(name, section.keys),
                Some([kind, name]) if kind == "sso-session" => {
                    self.sso_sessions
                        .entry(name.clone())
                        .or_default()
                        .extend(section.keys);
                }
                Some([kind, name]) if kind == "services" => {
                    self.services
                        .entry(name.clone())
                        .or_default()
                        .extend(section.keys);
                }
                Some([kind, arguments @ ..]) if kind == "profile" => {
                    let name = arguments.join(" ");
                    let why = format!("a name with spaces needs quotes: [profile \"{name}\"]");
                    self.add_misnamed(name, path, section.line, why);
                }
                Some([name]) => {
                    let why = format!("not a profile; write [profile {name}]");
                    self.add_misnamed(name.clone(), path, section.line, why);
                }
                // Sections of other tools.
                Some(_) => {}
                None => self.add_problem(
                    path,
                    section.line,
                    "the section header has an unclosed quote",
                ),
            }
        }
    }

    /// Adds the text of a credentials file, where each section is a profile.
    pub(super) fn add_credentials(&mut self, path: &Path, text: &str) {
        for section in self.sections(path, text) {
            if let Some(name) = section.header.strip_prefix("profile ") {
                let name = name.trim().to_owned();
                let why = format!(
                    "section headers of this file have no `profile` prefix; write [{name}]"
                );
                self.add_misnamed(name, path, section.line, why);
            }
            self.add_profile(&section.header, section.keys);
        }
    }

    pub(super) fn add_problem(&mut self, path: &Path, line: usize, why: impl Into<String>) {
        self.problems.push(Problem {
            path: path.to_owned(),
            line,
            why: why.into(),
        });
    }

    fn add_misnamed(&mut self, name: String, path: &Path, line: usize, why: String) {
        let path = path.to_owned();
        self.misnamed.insert(name, Problem { path, line, why });
    }

    fn sections(&mut self, path: &Path, text: &str) -> Vec<IniSection> {
        let (sections, bad) = ini::parse(text);
        for bad in bad {
            self.add_problem(path, bad.line, bad.why);
        }
        sections
    }

    fn add_profile(&mut self, name: &str, keys: Vec<(String, String)>) {
        self.profiles
            .entry(name.to_owned())
            .or_default()
            .extend(keys);
    }

    /// Returns the problems in the files, in order.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Appends the first problems in the files to `why`.
    pub(super) fn with_problems(&self, why: impl fmt::Display) -> String {
        let mut text = why.to_string();
        for problem in self.problems.iter().take(MAX_PROBLEMS) {
            text += &format!("; {problem}");
        }
        match self.problems.len().saturating_sub(MAX_PROBLEMS) {
            0 => text,
            more => format!("{text}; and {more} more lines"),
        }
    }

    /// Returns whether a profile exists.
    pub(super) fn contains(&self, profile: &str) -> bool {
        self.profiles.contains_key(profile)
    }

    /// Returns the names of all profiles, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// Returns the value of a key of a profile; `None` if it is missing or empty.
    pub(super) fn get(&self, profile: &str, key: &str) -> Option<&str> {
        let value = self.profiles.get(profile)?.get(key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the value of a key of an `sso-session` section; `None` if it is missing or empty.
    pub(super) fn get_of_session(&self, session: &str, key: &str) -> Option<&str> {
        let value = self.sso_sessions.get(session)?.get(key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

/// Names only: the values may be secrets.
impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiles")
            .field("names", &self.profiles.keys())
            .field("problems", &self.problems)
            .finish()
    }
}

/// Splits a header into words, which may be quoted as in a shell. Returns `None` if a quote is not
/// closed.
fn shell_words(text: &str) -> Option<Vec<String>> {
    let mut arguments = Vec::new();
    let mut argument: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                argument.get_or_insert_default();
            }
            (Some('"') | None, '\\') => argument.get_or_insert_default().extend(chars.next()),
            (None, c) if c.is_whitespace() => arguments.extend(argument.take()),
            (_, c) => argument.get_or_insert_default().push(c),
        }
    }
    arguments.extend(argument);
    quote.is_none().then_some(arguments)
}

/// Maximum number of problems in a message.
const MAX_PROBLEMS: usize = 3;

/// The profile that is used if none is configured.
pub(super) const DEFAULT: &str = "default";

#[cfg(test)]
mod tests;
