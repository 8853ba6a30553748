//! The simulator as a running program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;

use super::process::{Process, ssm_proxyd};

/// A simulator in a child process.
#[derive(Debug)]
pub(crate) struct SimulatorProcess {
    pub(crate) process: Process,
    /// Its output for programs.
    pub(crate) described: Value,
    /// Its address.
    pub(crate) address: SocketAddr,
}

impl SimulatorProcess {
    /// Starts it with these options, and reads its addresses.
    pub(crate) fn start<S: AsRef<str>>(options: &[S]) -> Self {
        let options: Vec<_> = options.iter().map(AsRef::as_ref).collect();
        Self::of(&mut ssm_proxyd(), &options)
    }

    /// The same, with a command that runs our binary.
    pub(crate) fn of(command: &mut Command, options: &[&str]) -> Self {
        let mut process = Process::start(command.arg("simulate").args(options));
        let described: Value = serde_json::from_str(&process.stdout.wait_for("{")).unwrap();
        Self {
            process,
            address: described["address"].as_str().unwrap().parse().unwrap(),
            described,
        }
    }

    /// The value for `AWS_ENDPOINT_URL_SSM`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The ledger: what it recorded.
    pub(crate) fn ledger(&self) -> Value {
        serde_json::from_str(&self.page("/simulator/ledger")).unwrap()
    }

    /// One of its own pages.
    pub(crate) fn page(&self, path: &str) -> String {
        let mut http = TcpStream::connect(self.address).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        http.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Stops it; returns its output for users.
    pub(crate) fn stop(mut self) -> String {
        self.process.signal("TERM");
        assert_eq!(self.process.exit_code(), 0);
        self.process.stderr.all()
    }
}
