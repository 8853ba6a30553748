//! `ssh-config`: the block that makes ssh use `connect`, printed or installed.
//!
//! ```text
//!   ~/.ssh/config        Include ~/.ssh/ssm-proxyd.config     two lines at the top, one blank
//!   ~/.ssh/ssm-proxyd.config      Host …, Match final …       written by this program only
//! ```
//!
//! ssh uses the first value it finds, and everything after a `Host` line belongs to that host, so
//! the Include is at the top. The user's lines are not changed, and `--remove` restores the file
//! byte for byte.

mod block;
mod identity;
mod include;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;

use self::block::{Block, HostPattern};
use self::identity::Identity;
use super::ad_hoc::checked_path;
use super::aws_options::AwsOptions;
use super::exit::Exit;
use super::{stdout, terminal};
use crate::files::{self, Links, Pipes};
use crate::printable::is_printable;

#[derive(Args, Debug)]
pub(super) struct SshConfigArgs {
    #[command(flatten)]
    aws: AwsOptions,
    /// The configuration file that `connect` uses
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also use `connect` for these hosts: names of nodes or forwards, as a pattern of ssh; may be
    /// repeated. ssh writes host names in lower case: for others, set HostName tag:Name=NAME
    #[arg(long, value_name = "PATTERN")]
    host: Vec<HostPattern>,
    /// Leave out `Match final`, which OpenSSH before 8.0 does not know: an alias is then found by
    /// its own name only, with --host
    #[arg(long)]
    old_ssh: bool,
    /// Push a public key to the EC2 instance at each connection, so that it needs no key of the
    /// user [default: ~/.ssh/id_ed25519.pub or id_rsa.pub]
    #[arg(long, value_name = "PUBLIC_KEY", num_args = 0..=1)]
    push_key: Option<Option<PathBuf>>,
    /// Include the block in ~/.ssh/config
    #[arg(long, conflicts_with = "remove")]
    install: bool,
    /// Remove the block from ~/.ssh/config
    #[arg(long, conflicts_with_all = ["region", "profile", "role_arn", "config", "host", "old_ssh", "push_key"])]
    remove: bool,
}

/// Prints, installs or removes the block.
pub(super) fn ssh_config(args: SshConfigArgs) -> Exit {
    let SshConfigArgs {
        aws,
        config,
        host,
        old_ssh,
        push_key,
        install,
        remove,
    } = args;
    let home = terminal::environment("HOME").map(PathBuf::from);
    let options = connect_options(&aws, config.as_deref());
    let identity = push_key.map(|given| Identity::find(given.as_deref(), home.as_deref()));
    let (options, identity) = match (options, identity.transpose()) {
        (Ok(options), Ok(identity)) => (options, identity),
        (Err(exit), _) | (_, Err(exit)) => return exit,
    };
    let block = Block {
        program: &own_path(),
        options: &options,
        hosts: &host,
        identity: identity.as_ref(),
        follows_aliases: !old_ssh,
    };
    if !install && !remove {
        return match stdout::print(block.to_string()) {
            Ok(()) => Exit::Done,
            Err(unheard) => unheard.exit(),
        };
    }
    let Some(home) = home else {
        let hint =
            "print the block with `ssm-proxyd ssh-config`, and add it to the ssh configuration";
        return terminal::fail(Exit::Failed, &"HOME is not set", hint);
    };
    let files = Files::of(&home);
    let done = match install {
        true => files.install(&block.to_string()),
        false => files.remove(),
    };
    let sent = match done {
        Ok(words) => stdout::print_text(&format!("{words}\n")),
        Err(FileError {
            path,
            error,
            changed,
        }) => {
            let error = format!("{}: {}", path.display(), terminal::os_message(&error));
            let effect = match changed {
                None => "no file was changed".to_owned(),
                Some(changed) => format!(
                    "{} was changed, {} was not",
                    changed.display(),
                    path.display()
                ),
            };
            let hint = format!("{effect}; `ssm-proxyd ssh-config` prints the block");
            return terminal::fail(Exit::Failed, &error, &hint);
        }
    };
    sent.map_or_else(|unheard| unheard.exit(), |()| Exit::Done)
}

/// Returns the options of `connect` in the block.
fn connect_options(aws: &AwsOptions, config: Option<&Path>) -> Result<Vec<String>, Exit> {
    let mut options = aws.to_args();
    if let Some(file) = config {
        let path = checked_path(file)?;
        options.extend(["--config".to_owned(), writable(&path)?]);
    }
    Ok(options)
}

/// Returns a path that a line of ssh's configuration can contain.
fn writable(path: &Path) -> Result<String, Exit> {
    // ssh expands variables in some values, and has no way to escape them or quotes.
    let is_good = |c: char| is_printable(c) && !matches!(c, '"' | '\\' | '$');
    let text = path.to_str().filter(|text| text.chars().all(is_good));
    text.map(str::to_owned).ok_or_else(|| {
        let error = format!(
            "{}: the path has a control character, `\"`, `\\` or `$`, or is not UTF-8",
            path.display()
        );
        terminal::fail(Exit::Usage, &error, "rename the file or its directory")
    })
}

/// An error, the file it concerns, and the file that was changed before.
struct FileError {
    path: PathBuf,
    error: io::Error,
    changed: Option<PathBuf>,
}

impl FileError {
    /// Returns the failure of a file from its error.
    fn of(path: &Path, changed: Option<&Path>) -> impl FnOnce(io::Error) -> Self {
        let (path, changed) = (path.to_owned(), changed.map(Path::to_owned));
        |error| Self {
            path,
            error,
            changed,
        }
    }
}

/// Configuration files of ssh.
struct Files {
    user: PathBuf,
    own: PathBuf,
}

impl Files {
    fn of(home: &Path) -> Self {
        let directory = home.join(".ssh");
        Self {
            user: directory.join("config"),
            own: directory.join("ssm-proxyd.config"),
        }
    }

    /// Writes our file first, as an Include of a missing file has no effect.
    fn install(&self, block: &str) -> Result<String, FileError> {
        let (user, own) = (&self.user, &self.own);
        let text = read(user).map_err(FileError::of(user, None))?;
        if let Some(directory) = own.parent() {
            make_directory(directory).map_err(FileError::of(directory, None))?;
        }
        files::replace(own, block.as_bytes(), Links::Followed).map_err(FileError::of(own, None))?;
        if let Some(text) = include::insert_include(text.as_deref(), own) {
            let replaced = files::replace(user, &text, Links::Followed);
            replaced.map_err(FileError::of(user, Some(own)))?;
        }
        Ok(format!(
            "{} now includes {}; connect with `ssh USER@i-…`",
            user.display(),
            own.display()
        ))
    }

    /// Removes the Include first.
    fn remove(&self) -> Result<String, FileError> {
        let (user, own) = (&self.user, &self.own);
        let text = read(user).map_err(FileError::of(user, None))?;
        let changed = match text.map(|text| include::remove_include(&text, own)) {
            Some(include::Removal::Keep(rest)) => {
                files::replace(user, &rest, Links::Followed).map(|()| Some(&**user))
            }
            // This program has created it.
            Some(include::Removal::DeleteFile) => fs::remove_file(user).map(|()| Some(&**user)),
            Some(include::Removal::NotFound) | None => Ok(None),
        };
        let changed = changed.map_err(FileError::of(user, None))?;
        match fs::remove_file(own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::of(own, changed)(error))
            }
            Ok(()) | Err(_) => Ok(format!("removed the block from {}", user.display())),
        }
    }
}

/// Reads a file; `None` if it does not exist.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let is_link = || fs::symlink_metadata(path).is_ok();
    match files::read(path, MAX_SIZE, Pipes::Refused).map_err(io::Error::from) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates a directory with access for its owner only, if it does not exist.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Maximum size of a file; larger than any written by hand.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Returns the path this program was called by. A link in the PATH survives an update; the file it
/// points to may not.
fn own_path() -> PathBuf {
    let called = std::env::args_os().next().map(PathBuf::from);
    let found = called.and_then(|called| match called.components().count() {
        1 => in_path(&called),
        _ => std::path::absolute(&called).ok(),
    });
    let itself = || std::env::current_exe().unwrap_or_else(|_| PathBuf::from("ssm-proxyd"));
    found.filter(|path| path.exists()).unwrap_or_else(itself)
}

fn in_path(name: &Path) -> Option<PathBuf> {
    let path = terminal::environment("PATH")?;
    let places = std::env::split_paths(&path).map(|place| place.join(name));
    places
        .filter(|place| place.is_absolute())
        .find(|p| p.is_file())
}
