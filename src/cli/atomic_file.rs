//! Replaces a user's file atomically, keeping its permissions and following links.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::files::{self, Pipes};

/// Reads a file; `None` if it does not exist.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match files::read(path, MAX_SIZE, Pipes::Refused).map_err(io::Error::from) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(path) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the content of a file, or creates one readable by its owner only.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = behind_links(path)?;
    let permissions = match fs::metadata(&path) {
        Ok(metadata) => Some(metadata.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".ssm-proxyd-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = write_new(&beside, text).and_then(|()| {
        if let Some(permissions) = permissions {
            fs::set_permissions(&beside, permissions)?;
        }
        fs::rename(&beside, &path)
    });
    if written.is_err() {
        // The first error is reported.
        let _left = fs::remove_file(&beside);
    }
    written
}

/// Deletes a file that did not exist before this program created it.
pub(super) fn delete(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Creates a directory with access for its owner only, if it does not exist.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file: File = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match is_link(path) {
        true => fs::canonicalize(path),
        false => Ok(path.to_owned()),
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Maximum size of a file; larger than any written by hand.
const MAX_SIZE: u64 = 16 * 1024 * 1024;
