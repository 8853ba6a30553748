//! `hosts`: names of remote hosts for their loopback addresses, in /etc/hosts.
//!
//! ```text
//!   listen = "hosts"      127.99.3.7:5432, derived from the name of the remote host
//!   /etc/hosts            127.99.3.7 orders.internal
//! ```
//!
//! Clients then use the real name, so the name in a certificate matches. Only the lines between two
//! markers are written; all other bytes of the file are kept.

mod block;
mod names;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use self::block::{DamagedBlock, Entry, HostsFile, block};
use self::names::Names;
use super::exit::Exit;
use super::{environment, paths, stdout, terminal};
use crate::files::{self, Pipes};
use crate::printable::shell_word;

#[derive(Args, Debug)]
pub(super) struct HostsArgs {
    /// Write the lines into the hosts file; needs root
    #[arg(long, conflicts_with = "remove")]
    install: bool,
    /// Remove the lines from the hosts file; needs root
    #[arg(long, conflicts_with = "config")]
    remove: bool,
    /// The hosts file
    #[arg(long, value_name = "PATH", default_value = "/etc/hosts")]
    file: PathBuf,
    /// The configuration file [default: as for `run`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints, installs or removes the lines.
pub(super) fn hosts(args: &HostsArgs) -> Exit {
    let done = match args.remove {
        true => remove(&args.file),
        false => install_or_print(args),
    };
    done.unwrap_or_else(|exit| exit)
}

fn install_or_print(args: &HostsArgs) -> Result<Exit, Exit> {
    let (config_path, mut config) = paths::read(args.config.as_deref())
        .map_err(|error| terminal::fail_with_rendered(Exit::Configuration, &error))?;
    environment::apply(&mut config.aws).map_err(|bad| bad.fail())?;
    let names = Names::of(&config);
    let path = &args.file;
    let found = match (read(path), args.install) {
        (Err(error), true) => return Err(failed(path, &error, &sudo(args, &config_path))),
        // What would be written is known without it.
        (Err(_), false) => None,
        (Ok(found), _) => Some(found),
    };
    note_backup(path);
    let text = found.clone().flatten().unwrap_or_default();
    let file = HostsFile::new(text).map_err(|damage| damaged(path, damage))?;
    let names = names.without(&file.other_lines(), &path.display().to_string());
    for text in names.listeners.iter().chain(&names.left_out) {
        terminal::send(&format!("note: {text}"));
    }
    if !args.install {
        return Ok(printed(&names.entries));
    }
    if names.entries.is_empty() {
        let error =
            "there is no name to write: no forward listens on the address of its remote host";
        let hint = "write `listen = \"hosts\"` in a forward; `hosts --remove` removes former lines";
        return Err(terminal::fail(Exit::Usage, &error, hint));
    }
    let new = file.with_block(&names.entries);
    let is_new = found.flatten().is_none();
    write(path, &file, &new, is_new)
        .map_err(|error| failed(path, &error, &sudo(args, &config_path)))?;
    let count = names.entries.len();
    let plural = if count == 1 { "" } else { "s" };
    Ok(reported(&format!(
        "{} has {count} name{plural} of ssm-proxyd",
        path.display()
    )))
}

fn printed(entries: &[Entry]) -> Exit {
    if entries.is_empty() {
        return Exit::Done;
    }
    let text = block(entries, "\n", false);
    stdout::print_text(&text).map_or_else(|unheard| unheard.exit(), |()| Exit::Done)
}

fn reported(text: &str) -> Exit {
    let printed = stdout::print_text(&format!("{text}\n"));
    printed.map_or_else(|unheard| unheard.exit(), |()| Exit::Done)
}

fn remove(path: &Path) -> Result<Exit, Exit> {
    let hint = format!(
        "run it as root: `sudo {NAME} hosts --remove{}`",
        option(path)
    );
    let text = read(path).map_err(|error| failed(path, &error, &hint))?;
    note_backup(path);
    let file = HostsFile::new(text.unwrap_or_default()).map_err(|damage| damaged(path, damage))?;
    let Some(without) = file.without_block() else {
        return Ok(reported(&format!(
            "{} has no lines of ssm-proxyd",
            path.display()
        )));
    };
    write(path, &file, &without, false).map_err(|error| failed(path, &error, &hint))?;
    Ok(reported(&format!(
        "removed the lines of ssm-proxyd from {}",
        path.display()
    )))
}

/// Reads the file; `None` if it does not exist.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match files::read(path, MAX_SIZE, Pipes::Refused).map_err(io::Error::from) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            // A link to nothing.
            Ok(_) => Err(error),
            Err(_) => Ok(None),
        },
        Err(error) => Err(error),
    }
}

/// Prints a note if a run that overwrote the file was interrupted: its block may be damaged.
fn note_backup(path: &Path) {
    let found = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let backup = files::backup_path(&found);
    if fs::symlink_metadata(&backup).is_ok() {
        terminal::send(&format!(
            "note: {} is the former content of the file, from a run that was interrupted: compare them, and remove it",
            backup.display()
        ));
    }
}

fn write(path: &Path, file: &HostsFile, new: &[u8], is_new: bool) -> io::Result<()> {
    match (is_new, file.text() == new) {
        // Every user reads it.
        (true, _) => files::create(path, new, 0o644),
        (false, true) => Ok(()),
        (false, false) => files::replace_or_overwrite(path, new),
    }
}

/// Reports that the file cannot be read or written. `as_root` is a hint for users who may not.
fn failed(path: &Path, error: &io::Error, as_root: &str) -> Exit {
    let text = format!("{}: {}", path.display(), terminal::os_message(error));
    let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
    let hint = match is_denied && !terminal::is_root() {
        true => as_root,
        // The second error of a file that is overwritten in place.
        false if error.kind() == io::ErrorKind::Other => {
            "the file may be damaged: compare it with its backup, if the error names one"
        }
        false => "check the path, its permissions and the file system; the file was not changed",
    };
    terminal::fail(Exit::Failed, &text, hint)
}

fn damaged(path: &Path, damage: DamagedBlock) -> Exit {
    let text = format!("{}: {damage}", path.display());
    let hint = "remove the rest of the block with an editor; the file was not changed";
    terminal::fail(Exit::Failed, &text, hint)
}

/// Returns what to run as root, who may have another configuration.
fn sudo(args: &HostsArgs, config: &Path) -> String {
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let config = shell_word(&config.display().to_string());
    let file = option(&args.file);
    format!("run it as root: `sudo {NAME} hosts --install --config {config}{file}`")
}

fn option(file: &Path) -> String {
    match file == Path::new("/etc/hosts") {
        true => String::new(),
        false => format!(" --file {}", shell_word(&file.display().to_string())),
    }
}

const NAME: &str = "ssm-proxyd";

/// Maximum size of the file; lists of blocked names are large.
const MAX_SIZE: u64 = 64 * 1024 * 1024;
