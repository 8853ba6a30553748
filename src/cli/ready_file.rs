//! The file of `--ready-file`: written once all forwards are ready, removed at the end.
//!
//! Both are done on threads that may block. A stop may come while the file is written, so removing
//! it waits for that, and it is not written afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::exit::Exit;
use super::terminal;
use crate::files::{self, Links};

/// The file. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ReadyFile {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Written,
    Removed,
}

impl ReadyFile {
    /// Resolves the path. Only a regular file is ever replaced. Blocks.
    pub(super) fn new(path: &Path) -> Result<Self, Exit> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => {
                let error = format!("{} exists and is not a regular file", path.display());
                let hint = "choose another path for --ready-file";
                Err(terminal::fail(Exit::Usage, &error, hint))
            }
            Ok(_) | Err(_) => Ok(Self {
                path,
                state: Arc::new(Mutex::new(State::Pending)),
            }),
        }
    }

    /// Writes the file. Blocks.
    pub(super) fn write(&self, text: &str) -> Result<(), Exit> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Removed {
            return Ok(());
        }
        let written = files::replace(&self.path, text.as_bytes(), Links::Followed);
        written.map_err(|error| {
            let (path, error) = (self.path.display(), terminal::os_message(&error));
            let error = format!("cannot write {path}: {error}");
            let hint = "check that its directory exists and is writable";
            terminal::fail(Exit::Failed, &error, hint)
        })?;
        *state = State::Written;
        Ok(())
    }

    /// Removes the file if it was written. Blocks.
    pub(super) fn remove(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Written {
            // May have been removed already.
            drop(fs::remove_file(&self.path));
        }
        *state = State::Removed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_kept_unless_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready");
        fs::write(&path, "precious").unwrap();
        let file = ReadyFile::new(&path).unwrap();

        file.remove();
        file.write("too late").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let file = ReadyFile::new(&path).unwrap();
        file.write("ready").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"ready");
        file.remove();
        assert!(!path.exists());
    }
}
