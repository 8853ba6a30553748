//! Checks a parsed file and converts it to the model, reporting all problems.
//!
//! Each table is checked key by key against the settings table, then the settings of a forward
//! against each other, then the forwards against each other. Checking continues after a problem;
//! problems that are only consequences of another one are not reported.

pub(super) mod address;
mod allow;
mod conflict;
mod forward;
mod hosts;
pub(super) mod identifiers;
mod parameters;
mod remote_hosts;
mod section;
mod tag_argument;
mod target;
mod target_ecs;
mod target_text;
mod units;
mod value;
pub(super) mod version;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::check::conflict::{check_forward, check_tables};
use crate::config::check::forward::forward;
pub use crate::config::check::parameters::parameter;
use crate::config::check::remote_hosts::{host_address, host_addresses, listen};
use crate::config::check::section::SectionKeys;
pub use crate::config::check::tag_argument::tag;
pub use crate::config::check::target_ecs::cluster;
pub use crate::config::check::units::{duration, format_size};
pub use crate::config::check::value::argument;
use crate::config::diagnostic::{Diagnostics, Finding, Findings};
use crate::config::document::{Document, KeyValue, Table, Value, ValueData};
use crate::config::model::{
    Admin, Aws, Config, Http, Limits, Log, LogFormat, LogLevel, Proxy, Shutdown,
};
use crate::config::settings::{
    ADMIN, AWS, Cardinality, DEFAULTS, FORWARD, HTTP, LIMITS, LOG, PROXY, SECTIONS, SHUTDOWN,
    Section,
};
use crate::config::source::{SourceText, quoted, truncated};
use crate::config::suggest::closest_match;
use crate::config::syntax_errors::SyntaxErrors;

/// Parses the text of a configuration.
///
/// # Errors
///
/// Fails with all problems found.
pub fn parse(text: &str) -> Result<Config, Diagnostics> {
    let source = SourceText::new(text);
    let mut findings = Findings::default();
    let config = if text.len() > MAX_LENGTH {
        let what = format!("the configuration is larger than {MAX_LENGTH} bytes");
        findings.add(Finding::new(0..0, what, "check the path"));
        None
    } else {
        read(text, &source, &mut findings)
    };
    match findings.into_diagnostics(&source) {
        Some(problems) => Err(problems),
        None => Ok(config.expect("what lacks a part has a finding")),
    }
}

/// Parses `[admin]` even if the rest of the text is invalid, so that a daemon started with an older
/// version of the file can still be found. Returns `None` if `[admin]` cannot be understood.
pub(super) fn parse_admin(text: &str) -> Option<Admin> {
    let Document { root, .. } = Document::read(text);
    let tables = Tables::read(&root, text, &mut Findings::default());
    let admin = admin(&tables.of(ADMIN));
    let is_understood = admin.socket.is_some() || !names_socket(text);
    is_understood.then_some(admin)
}

/// Returns whether `[admin]` sets the socket path, judged line by line.
fn names_socket(text: &str) -> bool {
    let lines = text.lines().map(str::trim);
    let mut behind = lines
        .skip_while(|line| !line.starts_with(&ADMIN.header()))
        .skip(1);
    let mut section = behind.by_ref().take_while(|line| !line.starts_with('['));
    section.any(|line| line.starts_with(SOCKET))
}

fn read(text: &str, source: &SourceText<'_>, findings: &mut Findings) -> Option<Config> {
    let document = Document::read(text);
    let syntax = SyntaxErrors::of(text, source, &document);
    let tables = Tables::read(&document.root, text, findings);
    check_tables(
        &tables.forwards,
        &tables.of(HTTP),
        &tables.of(ADMIN),
        findings,
    );
    findings.retain(|finding| syntax.keeps(finding, source));
    findings.append(syntax.into_findings());
    let forwards = tables
        .forwards
        .iter()
        .map(|section| forward(section, source));
    Some(Config {
        aws: aws(&tables.of(AWS)),
        limits: limits(&tables.of(LIMITS))?,
        shutdown: shutdown(&tables.of(SHUTDOWN)),
        log: log(&tables.of(LOG))?,
        http: http(&tables.of(HTTP)),
        admin: admin(&tables.of(ADMIN)),
        forwards: forwards.collect::<Option<_>>()?,
    })
}

/// Tables of a file, each checked separately.
#[derive(Debug, Default)]
struct Tables<'a> {
    /// Tables that occur once, by name.
    single: BTreeMap<&'static str, SectionKeys<'a>>,
    forwards: Vec<SectionKeys<'a>>,
}

impl<'a> Tables<'a> {
    fn read(root: &'a Table, text: &str, findings: &mut Findings) -> Self {
        let mut tables = Self::default();
        // `[defaults]` may follow the forwards that it applies to.
        let (forwards, others): (Vec<_>, Vec<_>) = root
            .entries
            .iter()
            .partition(|entry| [FORWARD.name, PROXY.name].contains(&entry.key.as_str()));
        for entry in others.into_iter().chain(forwards) {
            match SECTIONS.iter().find(|section| section.name == entry.key) {
                Some(section) => tables.take(*section, entry, findings),
                None => findings.add(unknown_key(entry)),
            }
        }
        if !root.entries.iter().any(may_be_forwards) {
            findings.add(no_forward(text));
        }
        tables
    }

    fn take(&mut self, section: Section, entry: &'a KeyValue, findings: &mut Findings) {
        match (section.shape, &entry.value.data) {
            (Cardinality::Single, ValueData::Table(table)) => {
                let checked = SectionKeys::read(table, section, section.header(), None, findings);
                self.single.insert(section.name, checked);
            }
            (Cardinality::Array, ValueData::Array(values)) => {
                self.take_forwards(section, values, findings);
            }
            _ => findings.add(wrong_shape(section, entry)),
        }
    }

    fn take_forwards(&mut self, section: Section, values: &'a [Value], findings: &mut Findings) {
        let addresses = host_addresses(values);
        for (index, value) in values.iter().enumerate() {
            let ValueData::Table(table) = &value.data else {
                let (number, type_name) = (index + 1, value.data.type_name());
                let what = format!(
                    "{} #{number}: expected a table, found {type_name}",
                    section.name
                );
                findings.add(Finding::new(value.span.clone(), what, EXAMPLE));
                continue;
            };
            if self.forwards.len() == MAX_FORWARDS {
                let count = self.forwards.len() + values.len() - index;
                let what = format!("{count} forwards");
                let hint = format!("write at most {MAX_FORWARDS}; run a second daemon for more");
                findings.add(Finding::new(value.span.clone(), what, hint));
                break;
            }
            let defaults = self.single.get(DEFAULTS.name);
            let scope = scope(section, table, index);
            let mut checked = SectionKeys::read(table, section, scope, defaults, findings);
            checked.host_address = host_address(&checked, &addresses);
            check_forward(&checked, findings);
            self.forwards.push(checked);
        }
    }

    /// Returns a table that occurs once. If it is absent, every key has its default.
    fn of(&self, section: Section) -> Cow<'_, SectionKeys<'a>> {
        match self.single.get(section.name) {
            Some(checked) => Cow::Borrowed(checked),
            None => Cow::Owned(SectionKeys::absent(section)),
        }
    }
}

/// Returns how messages refer to a forward or proxy: by name, else by position.
fn scope(section: Section, table: &Table, index: usize) -> String {
    let kind = section.name;
    let name = table.entries.iter().find(|entry| entry.key == "name");
    match name.map(|entry| &entry.value.data) {
        Some(ValueData::Text(name)) if !name.trim().is_empty() => {
            format!("{kind} {}", quoted(name))
        }
        Some(_) | None => format!("{kind} #{}", index + 1),
    }
}

fn aws(section: &SectionKeys<'_>) -> Aws {
    let text = |key| section.get::<String>(key);
    Aws {
        region: text("region"),
        profile: text("profile"),
        role_arn: text("role_arn"),
        ssm_endpoint: text("ssm_endpoint"),
        ecs_endpoint: text("ecs_endpoint"),
        ec2_instance_connect_endpoint: text("ec2_instance_connect_endpoint"),
        ssmmessages_endpoint: text("ssmmessages_endpoint"),
        ca_bundle: text("ca_bundle").map(Into::into),
        proxy: text("proxy").map(|url| Proxy::new(url, String::new())),
        client_version: text("client_version").and_then(|text| text.parse().ok()),
    }
}

fn limits(section: &SectionKeys<'_>) -> Option<Limits> {
    Some(Limits {
        max_connections: section.number("max_connections")?,
        session_start_rate: section.number("session_start_rate")?,
    })
}

/// The default is below the ten seconds after which `docker stop` kills.
fn shutdown(section: &SectionKeys<'_>) -> Shutdown {
    let given = section.get("drain_timeout");
    Shutdown {
        drain_timeout: given.unwrap_or(Duration::from_secs(8)),
        includes_endings: given.is_none(),
    }
}

fn log(section: &SectionKeys<'_>) -> Option<Log> {
    let (format, level): (String, String) = (section.get("format")?, section.get("level")?);
    let mut formats = LogFormat::ALL.into_iter();
    let mut levels = LogLevel::ALL.into_iter();
    Some(Log {
        format: formats.find(|known| known.as_str() == format)?,
        level: levels.find(|known| known.as_str() == level)?,
    })
}

/// Returns the HTTP settings, if enabled.
fn http(section: &SectionKeys<'_>) -> Option<Http> {
    Some(Http {
        listen: listen(section)?,
        allow_remote_clients: section.get("allow_remote_clients")?,
        hosts: section.get("hosts").unwrap_or_default(),
    })
}

fn admin(section: &SectionKeys<'_>) -> Admin {
    Admin {
        socket: section.get::<String>(SOCKET).map(Into::into),
    }
}

/// Reports an unknown key or table at the top level.
fn unknown_key(entry: &KeyValue) -> Finding {
    let key = truncated(&entry.key);
    let type_name = if holds_tables(&entry.value) {
        "table"
    } else {
        "key"
    };
    let home = Section::section_with_key(&entry.key).filter(|_| type_name == "key");
    let (what, hint) = match (home, closest_section(&entry.key)) {
        (Some(home), _) => (
            format!("`{key}` is outside of any table"),
            format!("move it below the header `{}`", home.header()),
        ),
        (None, Some(meant)) => (
            format!("unknown {type_name} `{key}`"),
            format!("did you mean `{}`?", meant.header()),
        ),
        (None, None) => (format!("unknown {type_name} `{key}`"), tables_of_a_file()),
    };
    Finding::new(entry.span.clone(), what, hint)
}

fn tables_of_a_file() -> String {
    let single = SECTIONS
        .iter()
        .filter(|s| matches!(s.shape, Cardinality::Single));
    let headers: Vec<String> = single.map(|s| format!("`{}`", s.header())).collect();
    format!(
        "expected {}, each at most once, `[[forward]]` for each forward, and `[[proxy]]` for each proxy",
        headers.join(", ")
    )
}

/// Returns the section whose name is most similar.
fn closest_section(key: &str) -> Option<&'static Section> {
    let meant = closest_match(key, SECTIONS.iter().map(|section| section.name));
    SECTIONS.iter().find(|section| Some(section.name) == meant)
}

fn holds_tables(value: &Value) -> bool {
    let is_table = |value: &Value| matches!(value.data, ValueData::Table(_));
    let is_array = matches!(&value.data, ValueData::Array(values) if values.iter().any(is_table));
    is_array || is_table(value)
}

fn wrong_shape(section: Section, entry: &KeyValue) -> Finding {
    if section.name == PROXY.name && !holds_tables(&entry.value) {
        // The URL of a proxy, which is a setting of another table.
        let what = "`proxy` is outside of any table";
        let hint = "move it below the header `[aws]`; `[[proxy]]` begins a local proxy";
        return Finding::new(entry.span.clone(), what, hint);
    }
    let (what, hint) = match section.shape {
        Cardinality::Array => (
            "is an array of tables",
            format!(
                "write `{0}`, in double brackets, above each {1}",
                section.header(),
                section.name
            ),
        ),
        Cardinality::Single => (
            "is one table",
            format!("write `{}`, in single brackets, once", section.header()),
        ),
    };
    let type_name = entry.value.data.type_name();
    let what = format!("`{}` {what}, found {type_name}", entry.key);
    Finding::new(entry.span.clone(), what, hint)
}

/// Returns whether the user defined forwards here, possibly misspelled or malformed.
fn may_be_forwards(entry: &KeyValue) -> bool {
    let meant = closest_section(&entry.key)
        .is_some_and(|section| matches!(section.shape, Cardinality::Array));
    let is_empty = matches!(&entry.value.data, ValueData::Array(values) if values.is_empty());
    meant && !is_empty
}

fn no_forward(text: &str) -> Finding {
    let end = text.trim_end().len();
    Finding::new(end..end, "no forward is configured", EXAMPLE).missing_key()
}

/// Key of the socket path in `[admin]`.
const SOCKET: &str = "socket";

/// A minimal forward.
const EXAMPLE: &str = "minimal example:

[[forward]]
name = \"db\"
listen = 5432
target = \"i-0123456789abcdef0\"
remote = \"db.internal:5432\"";

/// Maximum bytes of a file: a thousand forwards of a kilobyte each.
pub(super) const MAX_LENGTH: usize = 1 << 20;

/// Maximum number of forwards of a file; each has its own listeners.
const MAX_FORWARDS: usize = 1000;

#[cfg(test)]
mod tests;
