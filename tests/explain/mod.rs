//! Error messages in the protocol of the client: what real clients print, and when there is none.
//!
//! `expected/` has the output of real clients. To write it anew:
//! `WRITE_EXPECTED=1 cargo test --test all explain::`.

mod clients;
mod failures;
mod http_clients;
mod pool;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use ssm_proxyd::sim::Options;

use crate::support::daemon_process::connect;
use crate::support::in_process::{InProcess, TARGET, unpaced};
use crate::support::process::Process;

/// A daemon with a forward of each kind, whose target is offline.
struct Offline(InProcess);

impl Offline {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With these tables in addition.
    async fn with(tables: &str) -> Self {
        let mut options = unpaced();
        options.offline.insert(TARGET.to_owned());
        let forwards = FORWARDS.map(|(name, keys)| forward(name, keys));
        let tables = forwards.concat() + tables;
        Self(InProcess::with(options, &tables).await)
    }

    fn address(&self, forward: &str) -> SocketAddr {
        let mut names = FORWARDS.iter().map(|(name, _)| *name);
        let at = names.position(|name| name == forward).unwrap();
        self.0.address_of(at)
    }
}

const FORWARDS: [(&str, &str); 6] = [
    ("orders", "remote = \"orders.internal:5432\""),
    ("replica", "remote = \"replica.internal:5432\""),
    ("shop", "remote = \"shop.internal:3306\""),
    ("cache", "remote = 6379"),
    ("web", "remote = 80"),
    ("bastion", "remote = 22\nexplain = \"ssh\""),
];

/// A forward that listens on a free port.
fn forward(name: &str, keys: &str) -> String {
    format!(
        "[[forward]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{TARGET}\"\n{keys}\n"
    )
}

/// A daemon with one forward.
async fn serving(options: Options, keys: &str) -> InProcess {
    InProcess::with(options, &forward("f", keys)).await
}

/// What a client gets, and whether its connection ends with a reset.
fn read_to_end(mut client: &TcpStream) -> (String, bool) {
    let mut received = Vec::new();
    let end = client.read_to_end(&mut received);
    let is_reset = match end.map_err(|error| error.kind()) {
        Ok(_) => false,
        Err(ErrorKind::ConnectionReset) => true,
        Err(other) => panic!("{other} after {received:?}"),
    };
    (String::from_utf8_lossy(&received).into_owned(), is_reset)
}

/// Sends a request to a forward, and returns what the client gets.
fn request(address: SocketAddr, bytes: &[u8]) -> (String, bool) {
    let mut client = connect(address);
    client.write_all(bytes).unwrap();
    read_to_end(&client)
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// The output of programs, to compare with a file.
#[derive(Default)]
struct Session(String);

impl Session {
    /// Runs a program to its end.
    fn run(&mut self, shown: &str, command: &mut Command) {
        let mut process = Process::start(command.stdin(Stdio::null()));
        let code = process.exit_code();
        let (stdout, stderr) = (process.stdout.all(), process.stderr.all());
        self.0 += &format!("$ {shown}\n{stdout}{stderr}[exit code {code}]\n\n");
    }

    fn replace(&mut self, text: &str, by: &str) {
        self.0 = self.0.replace(text, by);
    }

    /// Compares the output with a file, and returns it.
    fn assert_as(mut self, name: &str, ports: &[SocketAddr]) -> String {
        for address in ports {
            self.replace(&address.port().to_string(), "PORT");
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain/expected");
        let path = path.join(format!("{name}.txt"));
        if std::env::var_os("WRITE_EXPECTED").is_some() {
            fs::write(&path, &self.0).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(self.0, expected, "{}", path.display());
        self.0
    }
}
