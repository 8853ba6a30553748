//! A program as a child: what it says line by line, the signals it gets, and how it ended.
//!
//! Every wait ends at [`TIMEOUT`], with all that the child said in the failure. A child that is
//! dropped is killed, so that no failed test leaves one behind.

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
    /// What it says to who called it.
    pub(crate) stdout: Lines,
    /// What it logs.
    pub(crate) stderr: Lines,
}

impl Process {
    /// Starts a program. Its input is what the command says, nothing if it says nothing.
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

    /// Sends a signal by its name: `TERM`, `HUP`, `USR1`. The shell does it, which is everywhere.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());

        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();

        assert!(status.success(), "{kill}: {status}");
    }

    /// Lets it read the end of its input.
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
                panic!("still running; it said:\n{out}{err}");
            }
            thread::sleep(POLL);
        }
    }

    /// Ends it in its own manner, by a signal; one that does not heed it is killed when this is
    /// dropped. Fails at nothing, so that it can stand in a `drop`.
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
    /// What was taken so far.
    seen: Vec<String>,
}

impl Lines {
    fn of(name: &'static str, output: impl Read + Send + 'static) -> Self {
        let (sender, incoming) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            let text = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
            // Ends when the child is gone, or nobody asks any more.
            let _unread = text.map(|line| sender.send(line)).find(Result::is_err);
        });
        Self {
            name,
            incoming,
            seen: Vec::new(),
        }
    }

    /// Waits for a line that contains `text`, beyond those that were waited for before.
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
                    panic!("no {texts:?} on {name} ({why}); it said:\n{seen}");
                }
            }
        }
    }

    /// Waits for the end of the output, and returns all of it, what was waited for included.
    pub(crate) fn all(&mut self) -> String {
        let deadline = deadline();
        loop {
            match self.incoming.recv_timeout(left(deadline)) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.rest(),
                Err(RecvTimeoutError::Timeout) => {
                    let (name, seen) = (self.name, self.rest());
                    panic!("no end of {name}; it said:\n{seen}");
                }
            }
        }
    }

    /// All of the output so far.
    fn rest(&mut self) -> String {
        self.seen.extend(self.incoming.try_iter());
        self.seen.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Our binary, with no input and no way to an AWS account.
pub(crate) fn ssm_proxyd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssm-proxyd"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AWS_") || text.starts_with("SSM_PROXYD_") {
            command.env_remove(&name);
        }
    }
    for name in ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "JOURNAL_STREAM"] {
        // Daemons of tests would meet there.
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

/// A place of its own for what a process leaves behind when it is killed.
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

/// Our binary behind another program that is given `arguments` and then ours to run.
pub(crate) fn behind(program: &str, arguments: &[&str]) -> Command {
    let ours = ssm_proxyd();
    let mut command = Command::new(program);
    command.args(arguments).arg(ours.get_program());
    take_environment(&mut command, &ours);
    command.stdin(Stdio::null());
    command
}

/// Gives a command the environment that another one was given.
pub(crate) fn take_environment(command: &mut Command, other: &Command) {
    for (name, value) in other.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// SimulatorProcess longer than anything takes on a busy machine; only a failure waits as long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often an end is looked for: there is no other way to wait for one and not for ever.
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
#[should_panic(expected = "no [\"never\"] on stderr")]
fn a_line_that_does_not_come_is_a_failure() {
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
