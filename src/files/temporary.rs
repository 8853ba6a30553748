//! Temporary files beside the file that they replace.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Creates a file in the directory of another one. Its name is random, because process ids are the
/// same in several containers, and after a restart. Removes those of killed processes.
pub(super) fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{TEMPORARY}{:016x}", fastrand::u64(..)));
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&name);
    let created = (PathBuf::from(name), file?);
    // What cannot be removed does no harm.
    let _left = remove_stale(path, &created.1);
    Ok(created)
}

/// Removes temporary files of the same file and user that are much older than this new one: their
/// process was killed.
fn remove_stale(path: &Path, new: &File) -> io::Result<()> {
    let (Some(directory), Some(own)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let prefix = [own.as_encoded_bytes(), TEMPORARY.as_bytes()].concat();
    let new = new.metadata()?;
    let latest = new.modified()?.checked_sub(MAX_AGE);
    for entry in fs::read_dir(directory)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        let random = name.as_encoded_bytes().strip_prefix(&prefix[..]);
        let is_ours = random
            .is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit));
        if !is_ours {
            continue;
        }
        // Of the entry itself, not of the target of a link.
        let found = entry.metadata()?;
        let is_old = latest.is_some_and(|latest| found.modified().is_ok_and(|at| at < latest));
        if found.is_file() && found.uid() == new.uid() && is_old {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Between the name of a file and the random part of the name of its temporary file.
const TEMPORARY: &str = ".ssm-proxyd-";

/// Longer than writing a file takes.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Maximum number of entries of a directory that are looked at.
const MAX_ENTRIES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Links, replace};

    #[test]
    fn temporary_files_of_killed_processes_are_removed_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let at = |name: &str| directory.path().join(name);
        let old = [
            ("hosts.ssm-proxyd-0123456789abcdef", false),
            ("hosts.ssm-proxyd-0123456789abcdeg", true),
            ("hosts.ssm-proxyd-0123", true),
            ("other.ssm-proxyd-0123456789abcdef", true),
            ("hosts", true),
        ];
        for (name, _) in old {
            let file = File::create(at(name)).unwrap();
            let long_ago = file.metadata().unwrap().modified().unwrap() - MAX_AGE * 2;
            file.set_modified(long_ago).unwrap();
        }
        fs::write(at("hosts.ssm-proxyd-fedcba9876543210"), "in progress").unwrap();
        std::os::unix::fs::symlink("hosts", at("hosts.ssm-proxyd-aaaaaaaaaaaaaaaa")).unwrap();

        replace(&path, b"new", Links::Followed).unwrap();

        for (name, is_kept) in old {
            assert_eq!(at(name).exists(), is_kept, "{name}");
        }
        assert!(at("hosts.ssm-proxyd-fedcba9876543210").exists());
        assert!(at("hosts.ssm-proxyd-aaaaaaaaaaaaaaaa").is_symlink());
    }
}
