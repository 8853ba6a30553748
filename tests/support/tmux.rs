//! A terminal for interactive tests: a window of a private tmux.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{Command, Stdio};

use futures_util::FutureExt;
use tempfile::TempDir;

use super::in_process::until;

/// A terminal. The programs in it end with it.
pub(crate) struct Tmux {
    directory: TempDir,
}

impl Tmux {
    /// Runs a shell command, and prints its exit code and `-ended` after it. `tmux` is that
    /// program, with the environment of the command.
    pub(crate) fn start(tmux: Command, command: &str) -> Self {
        Self::sized(tmux, command, (150, 40))
    }

    /// The same in a terminal of this width and height.
    pub(crate) fn sized(mut tmux: Command, command: &str, (width, height): (u16, u16)) -> Self {
        let screen = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let script = format!("trap : INT; {command}; echo $?-ended; sleep 600");
        tmux.arg("-S").arg(screen.socket());
        tmux.args(["-f", "/dev/null", "new-session", "-d"]);
        tmux.args(["-x", &width.to_string(), "-y", &height.to_string()]);
        done(tmux.args(["sh", "-c", &script]));
        screen
    }

    /// The content of the screen.
    pub(crate) fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The content of the screen, with the sequences for colours.
    pub(crate) fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Changes width and height of the terminal.
    pub(crate) fn resize(&self, (width, height): (u16, u16)) {
        let (width, height) = (width.to_string(), height.to_string());
        self.tmux(&["resize-window", "-x", &width, "-y", &height]);
    }

    /// Whether the cursor is visible, and no program has switched to the alternate screen.
    pub(crate) fn is_restored(&self) -> bool {
        let format = "#{cursor_flag} #{alternate_on} #{wrap_flag}";
        self.tmux(&["display-message", "-p", format]).trim() == "1 0 1"
    }

    /// Presses keys, by their names.
    pub(crate) fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until a line contains this.
    pub(crate) async fn until(&self, text: &str) {
        let mut last = String::new();
        let shown = AssertUnwindSafe(until(text, || {
            last = self.text();
            last.contains(text)
        }));
        if let Err(failed) = shown.catch_unwind().await {
            eprintln!("the terminal shows:\n{last}");
            resume_unwind(failed);
        }
    }

    /// The path of its device.
    pub(crate) fn device(&self) -> String {
        let name = self.tmux(&["display-message", "-p", "#{pane_tty}"]);
        name.trim().to_owned()
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("tmux")
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        done(tmux.arg("-S").arg(self.socket()).args(arguments))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        let _gone = tmux
            .arg("-S")
            .arg(self.socket())
            .arg("kill-server")
            .output();
    }
}

fn done(command: &mut Command) -> String {
    command.stdin(Stdio::null()).env_remove("TMUX");
    let output = command.env("TERM", "xterm").output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
