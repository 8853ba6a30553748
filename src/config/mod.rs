//! What a person may write, and what it means.
//!
//! ```text
//!   a path ──search──▶ a text ──file──▶ tables ──check──▶ Config
//!                                  │               │
//!                                  └── syntax      └──▶ problems, each with its place
//! ```
//!
//! Everything about a file is found in one run and said at once: where it is wrong, what is wrong,
//! and what to write instead. [`settings`] is the table of all that can be written; [`Config`] is
//! what it means, and cannot be wrong.
//!
//! Only this file touches the disk. The environment is read by `cli` and handed in.
//!
//! Specification: interfaces.md sections 2 and 8.

mod check;
mod diagnostic;
mod document;
mod model;
mod redact;
pub mod settings;
mod source;
mod suggest;
mod syntax_errors;
mod syntax_messages;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::check::MAX_LENGTH;
pub use crate::config::check::{
    document, duration, endpoint, parse, profile, proxy, region, role, written_duration,
    written_size,
};
pub use crate::config::diagnostic::{Problem, Problems, ValueError};
pub use crate::config::model::{
    Account, Admin, Aws, ClientVersion, Config, Forward, Http, Limits, Listen, Log, LogFormat,
    LogLevel, Proxy, Remote, Sessions, Shutdown, Target, Targets, Upload,
};
use crate::files::{self, Pipes};

/// Reads a configuration file.
///
/// # Errors
///
/// The file cannot be read, or everything that is wrong with it.
pub fn read(path: &Path) -> Result<Config, Error> {
    let text = read_text(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|problems| Error::Wrong {
        path: path.to_owned(),
        problems,
    })
}

/// Reads what a configuration file says of `[admin]`, whatever is wrong with the rest.
///
/// # Errors
///
/// The file cannot be read, or what it says of that cannot be understood.
pub fn read_admin(path: &Path) -> Result<Admin, Error> {
    let text = read_text(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    match (check::parse_admin(&text), parse(&text)) {
        (Some(admin), _) | (None, Ok(Config { admin, .. })) => Ok(admin),
        (None, Err(problems)) => Err(Error::Wrong {
            path: path.to_owned(),
            problems,
        }),
    }
}

/// Reads a file as if `extra`, the text of one more forward, stood at its end: what `[defaults]` says
/// holds for that one too. The last forward is the one of `extra`.
///
/// # Errors
///
/// As [`read`]; but the file needs no forward of its own.
pub fn read_with(path: &Path, extra: &str) -> Result<Config, Error> {
    let text = read_text(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if let Ok(config) = parse(&format!("{text}\n{extra}")) {
        return Ok(config);
    }
    // Forwards in an inline array take no other behind them.
    let wrong = |problems| Error::Wrong {
        path: path.to_owned(),
        problems,
    };
    let mut config = parse(&text).map_err(wrong)?;
    config.forwards = parse(extra).map_err(wrong)?.forwards;
    Ok(config)
}

/// Chooses the file to read: `option` (of `--config`), else `$SSM_PROXYD_CONFIG`, else the first of
/// the default places that is there.
///
/// A file that was named is not looked for: reading it tells if it is missing.
///
/// # Errors
///
/// None was named and none of the default places holds one.
pub fn search(option: Option<&Path>, variables: &Variables) -> Result<PathBuf, Error> {
    if let Some(path) = option {
        return Ok(path.to_owned());
    }
    if let Some(path) = filled(variables.config.as_ref()) {
        return Ok(path);
    }
    let places = variables.places();
    let found = places.iter().find(|place| exists(place)).cloned();
    found.ok_or(Error::NotFound { places })
}

/// The environment variables that say where a configuration lies; an empty one counts as unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// `SSM_PROXYD_CONFIG`.
    pub config: Option<OsString>,
    /// `XDG_CONFIG_HOME`; ignored unless it is an absolute path, as its specification asks.
    pub config_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
}

impl Variables {
    /// The default places, in the order of the search.
    fn places(&self) -> Vec<PathBuf> {
        let config_home = filled(self.config_home.as_ref()).filter(|path| path.is_absolute());
        let home = filled(self.home.as_ref()).map(|home| home.join(".config"));
        let own = config_home.or(home);
        let own = own.map(|directory| directory.join("ssm-proxyd/config.toml"));
        own.into_iter().chain([PathBuf::from(SYSTEM)]).collect()
    }
}

/// Why there is no configuration.
///
/// Its `Display` is complete, for a person: begins with `error: `, ends with a hint and without a
/// newline.
#[derive(Debug)]
pub enum Error {
    /// No file was named and none is where one is looked for.
    NotFound {
        /// Where it was looked for, in order.
        places: Vec<PathBuf>,
    },
    /// The file is not there, may not be read, or is not a text.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not make sense.
    Wrong {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        problems: Problems,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { places } => write_not_found(f, places),
            Self::Unreadable { path, source } => write!(
                f,
                "error: cannot read the configuration {}: {source}\n hint: {}",
                path.display(),
                remedy(source.kind())
            ),
            Self::Wrong { path, problems } => problems.in_file(path).fmt(f),
        }
    }
}

impl std::error::Error for Error {}

fn write_not_found(f: &mut fmt::Formatter<'_>, places: &[PathBuf]) -> fmt::Result {
    writeln!(f, "error: no configuration found")?;
    writeln!(f, "  looked at $SSM_PROXYD_CONFIG, which is not set")?;
    for place in places {
        writeln!(f, "  looked for {}", place.display())?;
    }
    write!(
        f,
        " hint: create one of these, or name a file with `--config FILE`"
    )
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    let known = REMEDIES.iter().find(|(of, _)| *of == kind);
    known.map_or("try to read it with `cat`", |(_, remedy)| remedy)
}

/// The text of a file.
fn read_text(path: &Path) -> io::Result<String> {
    let bytes = files::read(path, MAX_LENGTH as u64, Pipes::Read)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => Err(not_text(error.as_bytes(), error.utf8_error().valid_up_to())),
    }
}

fn not_text(bytes: &[u8], valid: usize) -> io::Error {
    let line = bytes[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
    let what = format!("line {line} is not UTF-8");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Whether something is there; what may not be looked at is, so that reading it tells why.
fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn filled(variable: Option<&OsString>) -> Option<PathBuf> {
    let value = variable.filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// The configuration of the machine.
const SYSTEM: &str = "/etc/ssm-proxyd/config.toml";

/// What helps against errors of the system.
const REMEDIES: &[(io::ErrorKind, &str)] = &[
    (io::ErrorKind::NotFound, "is the path right?"),
    (
        io::ErrorKind::PermissionDenied,
        "let the user who runs this read it",
    ),
    (
        io::ErrorKind::IsADirectory,
        "name the file in this directory",
    ),
    (io::ErrorKind::InvalidData, "save it as UTF-8"),
    (io::ErrorKind::FileTooLarge, "is the path right?"),
];

#[cfg(test)]
mod tests;
