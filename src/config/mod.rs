//! Configuration: finding, reading and checking the file.
//!
//! ```text
//!   path ──search──▶ text ──document──▶ tables ──check──▶ Config
//!                              │                   │
//!                              └── syntax errors   └──▶ problems with source locations
//! ```
//!
//! All problems of a file are found in one run and reported together: location, cause, and what to
//! write instead. [`settings`] is the table of all settings; a [`Config`] is always valid.
//!
//! Only this file of the module reads from disk. `cli` reads the environment and passes it in.
//!
//! Specification: docs/interfaces.md, sections 2 and 8.

mod check;
mod diagnostic;
mod document;
mod model;
mod redact;
pub mod settings;
mod source;
mod suggest;
mod syntax_errors;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use crate::config::check::MAX_LENGTH;
pub use crate::config::check::{argument, cluster, duration, format_size, parameter, parse, tag};
pub use crate::config::diagnostic::{Diagnostics, ValueError};
pub use crate::config::model::{
    Account, Admin, Allow, AllowRule, Aws, ClientProtocol, ClientVersion, Compress, Config,
    EcsTarget, EcsTasks, Explain, Forward, HostAddresses, Http, Limits, Listen, Log, LogFormat,
    LogLevel, Parameters, Proxy, Relay, Remote, SessionMode, Shutdown, Target, Targets, Upload,
};
pub use crate::config::suggest::closest_match;
use crate::files::{self, Pipes};

/// Reads a configuration file.
///
/// # Errors
///
/// Fails if the file cannot be read, or with all problems found in it.
pub fn read(path: &Path) -> Result<Config, Error> {
    parse(&read_text(path)?).map_err(|problems| Error::wrong(path, problems))
}

/// Reads `[admin]` from a configuration file, even if other parts of the file are invalid.
///
/// # Errors
///
/// Fails if the file cannot be read or its `[admin]` cannot be understood.
pub fn read_admin(path: &Path) -> Result<Admin, Error> {
    let text = read_text(path)?;
    match (check::parse_admin(&text), parse(&text)) {
        (Some(admin), _) | (None, Ok(Config { admin, .. })) => Ok(admin),
        (None, Err(problems)) => Err(Error::wrong(path, problems)),
    }
}

/// Reads a file as if `extra`, the text of one more forward, were appended to it, so that
/// `[defaults]` applies to that forward too. The last forward of the result is the one in `extra`.
///
/// # Errors
///
/// As [`read`], except that the file itself may have no forward.
pub fn read_with(path: &Path, extra: &str) -> Result<Config, Error> {
    let text = read_text(path)?;
    if let Ok(config) = parse(&format!("{text}\n{extra}")) {
        return Ok(config);
    }
    // Nothing can be appended to forwards written as an inline array.
    let wrong = |problems| Error::wrong(path, problems);
    let mut config = parse(&text).map_err(wrong)?;
    config
        .forwards
        .extend(parse(extra).map_err(wrong)?.forwards);
    Ok(config)
}

/// Selects the configuration file: `option` (from `--config`), else `$SSM_PROXYD_CONFIG`, else the
/// first default location where a file exists.
///
/// A file named explicitly is not checked for existence here; reading it reports the error.
///
/// # Errors
///
/// Fails if no file was named and no default location holds one.
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

/// Environment variables that locate the configuration. An empty one counts as unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// `SSM_PROXYD_CONFIG`.
    pub config: Option<OsString>,
    /// `XDG_CONFIG_HOME`; ignored unless it is an absolute path, as the XDG specification requires.
    pub config_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
}

impl Variables {
    /// Returns the default locations in search order.
    fn places(&self) -> Vec<PathBuf> {
        let own = self.own_place().into_iter();
        own.chain([PathBuf::from(SYSTEM)]).collect()
    }

    /// Returns the location that is looked up first.
    pub fn first_place(&self) -> Option<PathBuf> {
        let named = filled(self.config.as_ref());
        named.or_else(|| self.own_place())
    }

    /// Returns the default location of the user.
    fn own_place(&self) -> Option<PathBuf> {
        let config_home = filled(self.config_home.as_ref()).filter(|path| path.is_absolute());
        let home = filled(self.home.as_ref()).map(|home| home.join(".config"));
        let own = config_home.or(home);
        own.map(|directory| directory.join("ssm-proxyd/config.toml"))
    }
}

/// Error of finding or reading the configuration.
///
/// `Display` is the complete message for the user: it starts with `error: ` and ends with a hint,
/// without a newline.
#[derive(Debug)]
pub enum Error {
    /// No file was named and none exists in the default locations.
    NotFound {
        /// Paths that were tried, in order.
        places: Vec<PathBuf>,
    },
    /// The file does not exist, cannot be read, or is not UTF-8 text.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file is invalid.
    Wrong {
        /// The file.
        path: PathBuf,
        /// All problems found.
        problems: Diagnostics,
    },
}

impl Error {
    fn wrong(path: &Path, problems: Diagnostics) -> Self {
        Self::Wrong {
            path: path.to_owned(),
            problems,
        }
    }

    /// Returns each problem in one line, and its hint.
    pub fn summary(&self) -> Vec<(String, String)> {
        match self {
            Self::NotFound { .. } => vec![("no configuration found".to_owned(), CREATE.to_owned())],
            Self::Unreadable { path, source } => vec![unreadable(path, source)],
            Self::Wrong { path, problems } => problems.summary(path),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { places } => write_not_found(f, places),
            Self::Unreadable { path, source } => {
                let (what, hint) = unreadable(path, source);
                write!(f, "error: {what}\n hint: {hint}")
            }
            Self::Wrong { path, problems } => problems.in_file(path).fmt(f),
        }
    }
}

impl std::error::Error for Error {}

fn write_not_found(f: &mut fmt::Formatter<'_>, places: &[PathBuf]) -> fmt::Result {
    writeln!(f, "error: no configuration found")?;
    writeln!(f, "  $SSM_PROXYD_CONFIG is not set")?;
    for place in places {
        writeln!(f, "  {} does not exist", place.display())?;
    }
    write!(f, " hint: {CREATE}")
}

const CREATE: &str = "`ssm-proxyd init` writes a first one; or set `--config FILE`";

/// Returns why a file cannot be read, and what to do.
fn unreadable(path: &Path, source: &io::Error) -> (String, String) {
    use io::ErrorKind::{FileTooLarge, InvalidData, IsADirectory, NotFound, PermissionDenied};
    let hints = [
        (NotFound, "check the path"),
        (
            PermissionDenied,
            "allow the user of this process to read the file",
        ),
        (
            IsADirectory,
            "this is a directory; set the path of a file in it",
        ),
        (InvalidData, "save the file as UTF-8"),
        (FileTooLarge, "check the path"),
    ];
    let hint = hints.iter().find(|(kind, _)| *kind == source.kind());
    let hint = hint.map_or(
        "check that the file can be read, for example with `cat`",
        |(_, hint)| hint,
    );
    let what = format!("cannot read the configuration {}: {source}", path.display());
    (what, hint.to_owned())
}

fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = files::read(path, MAX_LENGTH as u64, Pipes::Read).map_err(io::Error::from);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(not_text));
    text.map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn not_text(error: FromUtf8Error) -> io::Error {
    let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
    let what = format!("line {line} is not UTF-8");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Returns whether a path exists. An inaccessible path counts as existing, so that reading it
/// reports the reason.
fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn filled(variable: Option<&OsString>) -> Option<PathBuf> {
    let value = variable.filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// System-wide configuration file.
const SYSTEM: &str = "/etc/ssm-proxyd/config.toml";

#[cfg(test)]
mod tests;
