//! The binary as a running daemon: its configuration file, its addresses, its log and its exit.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ssm_proxyd::sim::Simulator;
use tempfile::TempDir;

pub(crate) use super::free_address::free_address;
use super::in_process::{TARGET, without_drain};
use super::process::{Process, ssm_proxyd};

/// A running daemon in a child process.
#[derive(Debug)]
pub(crate) struct DaemonProcess {
    pub(crate) process: Process,
    /// The address of each forward.
    addresses: Vec<(String, SocketAddr)>,
    _file: File,
}

impl DaemonProcess {
    /// A daemon with the credentials of the simulator and these forwards, each of which listens on
    /// one address.
    pub(crate) fn start(simulator: &Simulator, forwards: &str) -> Self {
        Self::with(simulator, forwards, |command| command)
    }

    /// A daemon with few log lines: its one forward listens on an address that is chosen for it.
    pub(crate) fn quiet(simulator: &Simulator, tables: &str) -> Self {
        let address = free_address();
        let file = File::new(&format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n{}{}",
            simulator.endpoint(),
            without_drain(tables),
            tables.replace("127.0.0.1:0", &address.to_string())
        ));
        let process = Process::start(
            caller(simulator)
                .arg("run")
                .arg("--config")
                .arg(file.path()),
        );
        let begin = (0..6000).find(|_| {
            std::thread::sleep(Duration::from_millis(10));
            TcpStream::connect(address).is_ok()
        });
        assert!(begin.is_some(), "no listener on {address}");
        Self {
            process,
            addresses: vec![("f".to_owned(), address)],
            _file: file,
        }
    }

    /// The same, with other arguments or another environment.
    pub(crate) fn with(
        simulator: &Simulator,
        forwards: &str,
        change: impl Fn(&mut Command) -> &mut Command,
    ) -> Self {
        let mut command = caller(simulator);
        change(&mut command);
        Self::launch(command, &simulator.endpoint(), forwards)
    }

    /// A daemon that calls the API at `endpoint`.
    pub(crate) fn launch(command: Command, endpoint: &str, forwards: &str) -> Self {
        let endpoint = format!("ssm_endpoint = \"{endpoint}\"\n");
        Self::begin(command, &endpoint, forwards)
    }

    /// A daemon whose file has no API endpoint.
    pub(crate) fn without_endpoint(command: Command, forwards: &str) -> Self {
        Self::begin(command, "", forwards)
    }

    fn begin(command: Command, endpoint: &str, forwards: &str) -> Self {
        let aws = format!("[aws]\nregion = \"us-east-1\"\n{endpoint}");
        Self::of_file(
            command,
            &format!("{aws}{}{forwards}", without_drain(forwards)),
        )
    }

    /// A daemon with this file.
    pub(crate) fn of_file(mut command: Command, text: &str) -> Self {
        let file = File::new(text);
        let mut process = Process::start(command.arg("run").arg("--config").arg(file.path()));
        let count = text.matches("[[forward]]").count() + text.matches("[[proxy]]").count();
        let addresses = (0..count)
            .map(|_| listening(&process.stderr.wait_for("listening")))
            .collect();
        Self {
            process,
            addresses,
            _file: file,
        }
    }

    /// The address of its only forward.
    pub(crate) fn address(&self) -> SocketAddr {
        let [(_, address)] = &self.addresses[..] else {
            panic!("expected one forward: {:?}", self.addresses)
        };
        *address
    }

    /// The address of a forward.
    pub(crate) fn address_of(&self, forward: &str) -> SocketAddr {
        let found = self.addresses.iter().find(|(name, _)| name == forward);
        found
            .unwrap_or_else(|| panic!("{forward}: {:?}", self.addresses))
            .1
    }

    /// Stops it with SIGTERM, asserts that it ends cleanly and that no session is open, and returns
    /// its log.
    pub(crate) fn stop(mut self, simulator: &Simulator) -> String {
        self.process.signal("TERM");
        let code = self.process.exit_code();
        let log = self.process.stderr.all();
        assert_eq!(code, 0, "{log}");
        assert_eq!(
            self.process.stdout.all(),
            "",
            "the log must not be on stdout"
        );
        assert_clean(simulator);
        log
    }
}

/// Asserts that no session is open and none violated the protocol.
pub(crate) fn assert_clean(simulator: &Simulator) {
    let ledger = simulator.ledger();
    assert_eq!(ledger.open_sessions(), 0, "{ledger:#?}");
    for session in &ledger.sessions {
        assert_eq!(session.violations, [].into(), "{session:#?}");
    }
}

/// The binary with the credentials of a simulator.
pub(crate) fn caller(simulator: &Simulator) -> Command {
    let credentials = &simulator.options().credentials;
    let mut command = ssm_proxyd();
    command
        .env("AWS_ACCESS_KEY_ID", &credentials.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key);
    if let Some(token) = &credentials.session_token {
        command.env("AWS_SESSION_TOKEN", token);
    }
    command
}

/// A forward that listens on a free port of 127.0.0.1. `keys` begins with `remote`.
pub(crate) fn forward(name: &str, keys: &str) -> String {
    format!(
        "[[forward]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{TARGET}\"\n{keys}\n"
    )
}

/// A forward named `f` to a port of the target, on which a destination listens.
pub(crate) fn forward_to(destination: SocketAddr) -> String {
    forward("f", &format!("remote = {}", destination.port()))
}

/// Adds the keys of a fast upload to a forward: only the simulator permits such a rate.
pub(crate) fn with_fast_upload(mut forward: String) -> String {
    let keys = "upload_rate = 0\nupload_payload = 32768\nupload_window = \"4MiB\"\n";
    forward.write_str(keys).unwrap();
    forward
}

/// A configuration file in a directory of its own.
#[derive(Debug)]
pub(crate) struct File {
    directory: TempDir,
}

impl File {
    pub(crate) fn new(text: &str) -> Self {
        let file = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::write(file.path(), text).unwrap();
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory().join("config.toml")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// A client that waits at most a minute for anything.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.set_write_timeout(Some(TIMEOUT)).unwrap();
    client
}

/// Sends `texts` to an echo and asserts that they are returned.
pub(crate) fn assert_echo(client: &mut TcpStream, texts: &[u8]) {
    let mut answer = vec![0; texts.len()];

    client.write_all(texts).unwrap();
    client.read_exact(&mut answer).unwrap();

    assert_eq!(answer, texts);
}

/// Asserts that a connection is served within about a minute: the first ones may be refused.
pub(crate) fn assert_served(address: SocketAddr) {
    let mut last = None;
    let mut left = Duration::from_secs(80);
    while !left.is_zero() {
        let pause = Duration::from_millis(50);
        let took = match served(address) {
            Ok(()) => return,
            Err(error) => {
                let has_waited = error.kind() == io::ErrorKind::WouldBlock;
                last = Some(error);
                if has_waited { MAX_TURN } else { pause }
            }
        };
        left = left.saturating_sub(took);
        std::thread::sleep(pause);
    }
    panic!("not served: {last:?}");
}

/// The maximum time a single connection may be pending.
const MAX_TURN: Duration = Duration::from_secs(20);

fn served(address: SocketAddr) -> io::Result<()> {
    let mut client = connect(address);
    client.set_read_timeout(Some(MAX_TURN))?;
    let mut answer = [0; 5];
    client.write_all(b"hello")?;
    client.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

/// Reads until the connection ends, and asserts that the end is a reset.
pub(crate) fn assert_reset(mut client: TcpStream) {
    let mut received = Vec::new();
    let end = client.read_to_end(&mut received);
    let kind = end.map_err(|error| error.kind());
    assert_eq!(
        kind,
        Err(io::ErrorKind::ConnectionReset),
        "after {} bytes",
        received.len()
    );
}

/// Asserts that a line of the log contains all of these words.
pub(crate) fn assert_names(line: &str, texts: &[&str]) {
    for word in texts {
        assert!(line.contains(word), "{word:?} is not in\n{line}");
    }
}

/// The forward and the address in a line that says `listening`.
pub(crate) fn listening(line: &str) -> (String, SocketAddr) {
    let name = between(line, "serving{forward=\"", "\"}");
    let address = between(line, "local_address=", " ").parse();
    (name.to_owned(), address.unwrap())
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> &'a str {
    let found = line.split_once(before).and_then(|(_, rest)| {
        let (word, _) = rest.split_once(after)?;
        Some(word)
    });
    found.unwrap_or_else(|| panic!("{before:?} is not in {line:?}"))
}

/// True if this process may become another user.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// The timeout of every wait for a child.
const TIMEOUT: Duration = Duration::from_secs(60);
