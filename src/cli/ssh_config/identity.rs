//! The key of `ssh-config --push-key`: which file, and how ssh is told to use it.

use std::path::{Path, PathBuf};

use super::writable;
use crate::cli::exit::Exit;
use crate::cli::{push_key, terminal};

/// A public key that `connect` pushes, and the identity with which ssh logs in.
#[derive(Debug)]
pub(super) struct Identity {
    /// Absolute path of the public key.
    pub(super) public_key: String,
    /// Path of the private key if it exists; else that of the public key, as ssh's agent has the
    /// private one.
    file: String,
}

impl Identity {
    /// Finds the key: `given`, or that of the user with this home.
    pub(super) fn find(given: Option<&Path>, home: Option<&Path>) -> Result<Self, Exit> {
        let path = match given {
            Some(path) => std::path::absolute(path).map_err(|error| {
                let error = format!("{}: {}", path.display(), terminal::os_message(&error));
                terminal::fail(Exit::Usage, &error, "check the path")
            })?,
            None => of_user(home)?,
        };
        let checked = push_key::read(&path);
        checked.map_err(|error| terminal::fail(Exit::Usage, &error, error.hint()))?;
        let private = path.with_extension("");
        let is_pair = path.extension().is_some_and(|end| end == PUBLIC) && private.is_file();
        let file = if is_pair { &private } else { &path };
        Ok(Self {
            file: writable(file)?,
            public_key: writable(&path)?,
        })
    }

    /// Returns the settings for the block, one per line.
    pub(super) fn settings(&self) -> String {
        let file = self.file.replace('%', "%%");
        format!("    IdentityFile \"{file}\"\n    IdentitiesOnly yes\n")
    }
}

/// Returns the usual key of a user.
fn of_user(home: Option<&Path>) -> Result<PathBuf, Exit> {
    let directory = home.map(|home| home.join(".ssh"));
    let paths = directory.iter().flat_map(|directory| {
        let path = |name| directory.join(name).with_extension(PUBLIC);
        NAMES.map(path)
    });
    let mut existing = paths.filter(|path| path.is_file());
    existing.next().ok_or_else(|| {
        let error = "there is no public key ~/.ssh/id_ed25519.pub or ~/.ssh/id_rsa.pub";
        let hint = "create one with `ssh-keygen -t ed25519`, or name one: --push-key PUBLIC_KEY";
        terminal::fail(Exit::Usage, &error, hint)
    })
}

/// The usual names of keys of the types that can be pushed, in the order of ssh-keygen's preference.
const NAMES: [&str; 2] = ["id_ed25519", "id_rsa"];

const PUBLIC: &str = "pub";
