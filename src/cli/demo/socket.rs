//! The admin socket of the demo, in a directory of its own: a daemon of this user may run besides.

use std::fs::{DirBuilder, remove_dir_all};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use crate::cli::terminal;

/// A new private directory, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct DemoSocket {
    directory: PathBuf,
}

impl DemoSocket {
    /// # Errors
    ///
    /// If the directory exists or cannot be created.
    pub(super) fn new() -> io::Result<Self> {
        let parent = terminal::environment("XDG_RUNTIME_DIR").map(PathBuf::from);
        let parent = parent.filter(|parent| parent.is_dir());
        let parent = parent.unwrap_or_else(std::env::temp_dir);
        let random = fastrand::u32(..);
        let directory = parent.join(format!("ssm-proxyd-demo-{random:08x}"));
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self { directory })
    }

    /// Returns the path of the socket.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("admin.sock")
    }

    /// Returns the command that shows the daemon.
    pub(super) fn top(&self) -> String {
        format!("ssm-proxyd top --socket {}", self.path().display())
    }

    /// Returns the command that shows a forward.
    pub(super) fn status(&self, name: &str) -> String {
        format!(
            "ssm-proxyd status {name} --socket {}",
            self.path().display()
        )
    }
}

impl Drop for DemoSocket {
    fn drop(&mut self) {
        // What is left is removed with the other temporary files.
        let _left = remove_dir_all(&self.directory);
    }
}
