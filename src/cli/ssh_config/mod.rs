//! `ssh-config`: the block that makes ssh use `connect`, printed or installed.
//!
//! ```text
//!   ~/.ssh/config        Include ~/.ssh/ssm-proxyd.config     two lines at the top, one blank
//!   ~/.ssh/ssm-proxyd.config      Host i-* mi-* …             written by this program only
//! ```
//!
//! ssh uses the first value it finds, and everything after a `Host` line belongs to that host, so
//! the Include is at the top. The user's lines are not changed, and `--remove` restores the file
//! byte for byte.

mod include;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::aws_options::AwsOptions;
use super::exit::Exit;
use super::{atomic_file, stdout, terminal};

#[derive(Args, Debug)]
pub(super) struct SshConfigArgs {
    #[command(flatten)]
    aws: AwsOptions,
    /// Include the block in ~/.ssh/config
    #[arg(long, conflicts_with = "remove")]
    install: bool,
    /// Remove the block from ~/.ssh/config
    #[arg(long, conflicts_with_all = ["region", "profile", "role_arn"])]
    remove: bool,
}

/// Prints, installs or removes the block.
pub(super) fn ssh_config(args: SshConfigArgs) -> Exit {
    let SshConfigArgs {
        aws,
        install,
        remove,
    } = args;
    if !install && !remove {
        let block = include::block(&own_path(), &aws.words());
        return match stdout::part(block) {
            Ok(()) => Exit::Done,
            Err(unheard) => unheard.exit(),
        };
    }
    let Some(home) = terminal::environment("HOME") else {
        let hint =
            "print the block with `ssm-proxyd ssh-config`, and add it to the ssh configuration";
        return terminal::fail(Exit::Failed, &"HOME is not set", hint);
    };
    let files = Files::of(Path::new(&home));
    let done = match install {
        true => files.install(&include::block(&own_path(), &aws.words())),
        false => files.remove(),
    };
    let said = match done {
        Ok(words) => stdout::printable(&format!("{words}\n")),
        Err((path, error)) => {
            let error = format!("{}: {}", path.display(), terminal::words(&error));
            let hint = "the file was not changed; `ssm-proxyd ssh-config` prints the block";
            return terminal::fail(Exit::Failed, &error, hint);
        }
    };
    said.map_or_else(|unheard| unheard.exit(), |()| Exit::Done)
}

/// An error and the file it concerns.
type Failure = (PathBuf, io::Error);

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
    fn install(&self, block: &str) -> Result<String, Failure> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |error| (path, error)
        };
        if let Some(directory) = self.own.parent() {
            atomic_file::make_directory(directory).map_err(failed(directory))?;
        }
        atomic_file::replace(&self.own, block.as_bytes()).map_err(failed(&self.own))?;
        let user = atomic_file::read(&self.user).map_err(failed(&self.user))?;
        let added = include::add(user.as_deref(), &self.own);
        if let Some(changed) = added {
            atomic_file::replace(&self.user, &changed).map_err(failed(&self.user))?;
        }
        Ok(format!(
            "{} now includes {}; connect with `ssh USER@i-…`",
            self.user.display(),
            self.own.display()
        ))
    }

    /// Removes the Include first.
    fn remove(&self) -> Result<String, Failure> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |error| (path, error)
        };
        let user = atomic_file::read(&self.user).map_err(failed(&self.user))?;
        match user.map(|user| include::take(&user, &self.own)) {
            Some(include::Taken::Rest(rest)) => atomic_file::replace(&self.user, &rest),
            Some(include::Taken::All) => atomic_file::delete(&self.user),
            Some(include::Taken::Nothing) | None => Ok(()),
        }
        .map_err(failed(&self.user))?;
        match fs::remove_file(&self.own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err((self.own.clone(), error)),
            Ok(()) | Err(_) => Ok(format!("removed the block from {}", self.user.display())),
        }
    }
}

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
