//! `connect` as a child process with pipes as its stdin and stdout, as under ssh.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ssm_proxyd::sim::Simulator;

use super::daemon_process::{File, caller};
use super::in_process::TARGET;

/// A running `connect`.
#[derive(Debug)]
pub(crate) struct ConnectProcess {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    _file: File,
}

impl ConnectProcess {
    /// Starts one to a port of the target.
    pub(crate) fn start(simulator: &Simulator, port: u16) -> Self {
        Self::with(simulator, DEFAULTS, &[TARGET, &port.to_string()])
    }

    /// Starts one with these tables in the file and these arguments.
    pub(crate) fn with(simulator: &Simulator, tables: &str, arguments: &[&str]) -> Self {
        let file = file(simulator, tables);
        let mut command = caller(simulator);
        command
            .env("SSM_PROXYD_CONFIG", file.path())
            .arg("connect")
            .args(arguments);
        Self::run(command, file)
    }

    /// Starts one that calls the API at `endpoint`.
    pub(crate) fn calling(endpoint: &str, simulator: &Simulator, arguments: &[&str]) -> Self {
        let file = file(simulator, "");
        let mut command = caller(simulator);
        command
            .env("SSM_PROXYD_CONFIG", file.path())
            .env("AWS_ENDPOINT_URL_SSM", endpoint)
            .arg("connect")
            .args(arguments);
        Self::run(command, file)
    }

    fn run(mut command: Command, file: File) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: Some(stderr),
            child,
            _file: file,
        }
    }

    /// Writes to its stdin.
    pub(crate) fn send(&mut self, data: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(data).unwrap();
    }

    /// Reads this number of bytes of its stdout.
    pub(crate) fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.stdout.as_mut().unwrap().read_exact(&mut data).unwrap();
        data
    }

    /// Reads its stdout to the end.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        self.stdout.take().unwrap().read_to_end(&mut data).unwrap();
        data
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for its end; returns the exit code and its stderr.
    pub(crate) fn end(mut self) -> (i32, String) {
        let status = self.wait();
        let text = self.stderr.take().unwrap().join().unwrap();
        let code = status
            .code()
            .unwrap_or_else(|| panic!("ended by {status}: {text}"));
        (code, text)
    }

    fn wait(&mut self) -> ExitStatus {
        for _ in 0..TIMEOUT {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(POLL);
        }
        panic!("still running");
    }
}

impl Drop for ConnectProcess {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A configuration for a simulator.
pub(crate) fn file(simulator: &Simulator, tables: &str) -> File {
    let endpoint = simulator.endpoint();
    File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n{tables}"
    ))
}

/// An upload rate that only the simulator permits; and settings that apply to other forwards only.
pub(crate) const DEFAULTS: &str = "[defaults]\nupload_rate = 0\nupload_payload = 32768\n\
    upload_window = \"4MiB\"\nsessions = \"shared\"\n";

/// The poll interval while it waits for the end, and the maximum number of polls.
const POLL: Duration = Duration::from_millis(5);
const TIMEOUT: usize = 12_000;
