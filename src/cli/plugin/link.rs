//! `plugin`: the link by which this program is called in place of the official plugin.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clap::Args;

use super::NAME;
use super::official::identity;
use crate::cli::exit::Exit;
use crate::cli::{stdout, terminal};

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct PluginArgs {
    /// Make DIR/session-manager-plugin a link to this program. DIR must come before the official
    /// plugin in the PATH
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
    /// Remove that link
    #[arg(long, value_name = "DIR")]
    remove: Option<PathBuf>,
}

/// Makes or removes the link.
pub(in crate::cli) fn plugin(args: PluginArgs) -> Exit {
    let PluginArgs { install, remove } = args;
    let done = match (install, remove) {
        (Some(directory), _) => make(&directory.join(NAME)),
        (None, Some(directory)) => take_away(&directory.join(NAME)),
        (None, None) => return Exit::Usage,
    };
    match done {
        Ok(text) => match stdout::print_text(&format!("{text}\n")) {
            Ok(()) => Exit::Done,
            Err(unheard) => unheard.exit(),
        },
        Err(LinkError { path, why, hint }) => {
            let error = format!("{}: {why}", path.display());
            terminal::fail(Exit::Failed, &error, hint)
        }
    }
}

fn make(path: &Path) -> Result<String, LinkError> {
    let itself = stable_path().map_err(|error| LinkError::io(path, &error))?;
    let text = format!("{} -> {}", path.display(), itself.display());
    match State::of(path)? {
        State::Missing => {}
        State::Link(target) if target == itself => {
            return Ok(format!("{text} exists already{}", note(path)));
        }
        State::Link(_) => {
            // This program at another place, perhaps an earlier version.
            fs::remove_file(path).map_err(|error| LinkError::io(path, &error))?;
        }
        State::Other => return Err(LinkError::other(path)),
    }
    symlink(&itself, path).map_err(|error| LinkError::io(path, &error))?;
    Ok(format!("{text}{}", note(path)))
}

/// Returns the path of this program by which it was called, if that is an absolute one or in the PATH:
/// it may be a link that stays when an upgrade replaces the file.
fn stable_path() -> io::Result<PathBuf> {
    let itself = std::env::current_exe()?;
    let called = std::env::args_os().next().map(PathBuf::from);
    let named = called.into_iter().flat_map(|called| {
        if called.components().count() > 1 {
            return std::path::absolute(called).into_iter().collect::<Vec<_>>();
        }
        let search = terminal::environment("PATH").unwrap_or_default();
        let places = std::env::split_paths(&search).filter(|place| place.is_absolute());
        places.map(|place| place.join(&called)).collect()
    });
    let mut existing = named.filter(|path| path.exists());
    let same = existing.next().filter(|path| is_same(path, &itself));
    Ok(same.unwrap_or(itself))
}

fn is_same(one: &Path, other: &Path) -> bool {
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn take_away(path: &Path) -> Result<String, LinkError> {
    match State::of(path)? {
        State::Missing => Ok(format!("{} does not exist", path.display())),
        State::Link(_) => {
            fs::remove_file(path).map_err(|error| LinkError::io(path, &error))?;
            Ok(format!("{} removed", path.display()))
        }
        State::Other => Err(LinkError::other(path)),
    }
}

/// Returns what is said of a link that the AWS CLI does not find.
fn note(path: &Path) -> String {
    let search = terminal::environment("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&search).map(|place| place.join(NAME));
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match found.find(|path| path.exists()) {
        Some(first) if first == absolute => String::new(),
        Some(first) => format!(
            "\nnote: {} comes first in the PATH, and is what the AWS CLI calls",
            first.display()
        ),
        None => {
            "\nnote: the directory is not in the PATH, so the AWS CLI does not find it".to_owned()
        }
    }
}

/// What is at the place of the link.
enum State {
    Missing,
    /// A link to this program, whose path is given.
    Link(PathBuf),
    /// A file that this program has not made.
    Other,
}

impl State {
    fn of(path: &Path) -> Result<Self, LinkError> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            Err(error) => return Err(LinkError::io(path, &error)),
            Ok(file) if !file.is_symlink() => return Ok(Self::Other),
            Ok(_) => {}
        }
        let target = fs::read_link(path).map_err(|error| LinkError::io(path, &error))?;
        let is_ours = std::env::current_exe().is_ok_and(|itself| is_same(path, &itself))
            || target
                .file_name()
                .is_some_and(|name| name == env!("CARGO_PKG_NAME"));
        Ok(match is_ours {
            true => Self::Link(target),
            false => Self::Other,
        })
    }
}

/// A link that was not made or removed.
struct LinkError {
    path: PathBuf,
    why: String,
    hint: &'static str,
}

impl LinkError {
    fn io(path: &Path, error: &io::Error) -> Self {
        Self {
            path: path.to_owned(),
            why: terminal::os_message(error),
            hint: "the directory must exist, and you must be allowed to write to it",
        }
    }

    fn other(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            why: "is not a link to this program".to_owned(),
            hint: "choose another directory, which comes earlier in the PATH; the official plugin stays for shells",
        }
    }
}
