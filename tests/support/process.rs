//! A child process: its output line by line, its signals and its exit.
//!
//! Every wait ends after [`TIMEOUT`], and the failure shows all output of the child. A child that
//! is dropped is killed, so that a failed test leaves no process.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Its stdout.
    pub(crate) stdout: Lines,
    /// Its stderr.
    pub(crate) stderr: Lines,
}

impl Process {
    /// Starts a program. Its stdin is that of the command, or empty.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Lines::of("stdout", child.stdout.take().unwrap());
        let stderr = Lines::of("stderr", child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name: `TERM`, `HUP`, `USR1`. The shell sends it, because a shell
    /// exists everywhere.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());

        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();

        assert!(status.success(), "{kill}: {status}");
    }

    /// Closes its stdin.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = deadline();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if past(deadline) {
                let (out, err) = (self.stdout.rest(), self.stderr.rest());
                panic!("still running; its output:\n{out}{err}");
            }
            thread::sleep(POLL);
        }
    }

    /// Stops it with a signal; if it does not stop, it is killed when this is dropped. Never fails,
    /// so that it can be used in a `drop`.
    pub(crate) fn end(&mut self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        let deadline = deadline();
        while sent.is_ok() && matches!(self.child.try_wait(), Ok(None)) && !past(deadline) {
            thread::sleep(POLL);
        }
    }

    /// Waits until it ends by itself, and returns its exit code.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| panic!("ended by {status}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// One of the outputs of a child.
#[derive(Debug)]
pub(crate) struct Lines {
    name: &'static str,
    incoming: Receiver<String>,
    /// Length of the output that was waited for so far.
    seen: Vec<String>,
}

impl Lines {
    fn of(name: &'static str, output: impl Read + Send + 'static) -> Self {
        let (sender, incoming) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            let text = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
            // Ends when the child has ended, or the receiver is dropped.
            let _unread = text.map(|line| sender.send(line)).find(Result::is_err);
        });
        Self {
            name,
            incoming,
            seen: Vec::new(),
        }
    }

    /// Waits for a line that contains `text`, after those that were waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        self.wait_for_any(&[text])
    }

    /// Waits for a line that contains one of these texts.
    pub(crate) fn wait_for_any(&mut self, texts: &[&str]) -> String {
        let deadline = deadline();
        loop {
            match self.incoming.recv_timeout(left(deadline)) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if texts.iter().any(|text| line.contains(text)) {
                        return line;
                    }
                }
                Err(why) => {
                    let (name, seen) = (self.name, self.seen.join("\n"));
                    panic!("{texts:?} is not on {name} ({why}); its output:\n{seen}");
                }
            }
        }
    }

    /// Waits for the end of the output, and returns all of it, including lines that were waited
    /// for.
    pub(crate) fn all(&mut self) -> String {
        let deadline = deadline();
        loop {
            match self.incoming.recv_timeout(left(deadline)) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.rest(),
                Err(RecvTimeoutError::Timeout) => {
                    let (name, seen) = (self.name, self.rest());
                    panic!("no end of {name}; its output:\n{seen}");
                }
            }
        }
    }

    /// All of the output so far.
    pub(crate) fn rest(&mut self) -> String {
        self.seen.extend(self.incoming.try_iter());
        self.seen.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Our binary, without input and without access to an AWS account.
pub(crate) fn ssm_proxyd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssm-proxyd"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AWS_") || text.starts_with("SSM_PROXYD_") {
            command.env_remove(&name);
        }
    }
    for name in ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "JOURNAL_STREAM"] {
        // The admin sockets of test daemons must not collide in the runtime directory of the user.
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).envs([
        ("AWS_ACCESS_KEY_ID", "dummy"),
        ("AWS_SECRET_ACCESS_KEY", "dummy"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    command.env("STATE_DIRECTORY", state_directory());
    command
}

/// A directory for files that a killed process leaves.
fn state_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("state-{}-{n}", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[expect(clippy::disallowed_methods, reason = "a child lives in real time")]
fn deadline() -> Instant {
    Instant::now() + TIMEOUT
}

fn past(deadline: Instant) -> bool {
    left(deadline).is_zero()
}

#[expect(clippy::disallowed_methods, reason = "a child lives in real time")]
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Our binary started by another program, which gets `arguments` and then our command line.
pub(crate) fn behind(program: &str, arguments: &[&str]) -> Command {
    let ours = ssm_proxyd();
    let mut command = Command::new(program);
    command.args(arguments).arg(ours.get_program());
    take_environment(&mut command, &ours);
    command.stdin(Stdio::null());
    command
}

/// Gives a command the environment of another one.
pub(crate) fn take_environment(command: &mut Command, other: &Command) {
    for (name, value) in other.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Longer than any step takes on a busy machine; only a failing test waits that long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Poll interval: there is no wait for the end of a child with a timeout.
const POLL: Duration = Duration::from_millis(5);

#[test]
fn the_output_of_a_child_is_read_line_by_line() {
    let mut child = shell("echo one; echo two >&2; echo three >&2; echo four");

    assert_eq!(child.stderr.wait_for("thr"), "three");
    assert_eq!(child.stdout.all(), "one\nfour\n");
    assert_eq!(child.stderr.all(), "two\nthree\n");
    assert_eq!(child.exit_code(), 0);
}

#[test]
fn a_child_gets_a_signal_and_its_exit_code_is_seen() {
    let mut child = shell("trap 'exit 7' TERM; echo ready >&2; while :; do sleep 0.01; done");
    child.stderr.wait_for("ready");

    child.signal("TERM");

    assert_eq!(child.exit_code(), 7);
}

#[test]
fn a_dropped_child_is_killed() {
    let mut child = shell("echo ready; exec sleep 600");
    child.stdout.wait_for("ready");
    let alive = format!("kill -0 {}", child.child.id());

    drop(child);

    let status = Command::new("sh")
        .args(["-c", &alive])
        .stderr(Stdio::null())
        .status();
    assert!(!status.unwrap().success());
}

#[test]
#[should_panic(expected = "[\"never\"] is not on stderr")]
fn a_line_that_does_not_arrive_is_a_failure() {
    shell("echo else >&2").stderr.wait_for("never");
}

#[test]
fn our_binary_runs_as_a_child() {
    let mut child = Process::start(ssm_proxyd().arg("--version"));

    assert_eq!(child.exit_code(), 0);
}

fn shell(script: &str) -> Process {
    Process::start(Command::new("sh").args(["-c", script]).stdin(Stdio::null()))
}
