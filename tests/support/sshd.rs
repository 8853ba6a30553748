//! A real sshd on a loopback port, and OpenSSH's clients: host `near` is direct, host `far` goes
//! through our ProxyCommand and a simulator.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ssm_proxyd::sim::{ApiFault, Operation, Options, Simulator};
use tempfile::TempDir;

use super::connect_process::{DEFAULTS, file};
use super::daemon_process::{File, assert_clean, caller};
use super::in_process::{TARGET, until};
use super::process::{Process, take_environment};

/// A server with keys of its own, and a simulator on whose target it runs.
#[derive(Debug)]
pub(crate) struct Sshd {
    server: Process,
    port: u16,
    directory: TempDir,
    pub(crate) simulator: Simulator,
    file: File,
}

impl Sshd {
    /// A running server, behind a simulator with these options.
    pub(crate) async fn start(options: Options) -> Self {
        Self::with(options, tempfile::tempdir().unwrap(), "user.pub").await
    }

    /// The same, but the server knows only the keys that were pushed to the simulator.
    pub(crate) async fn start_without_keys(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("pushed");
        fs::create_dir(&keys).unwrap();
        let options = Options {
            authorized_keys: Some(keys),
            ..options
        };
        Self::with(options, directory, "pushed/%u").await
    }

    async fn with(options: Options, directory: TempDir, authorized_keys: &str) -> Self {
        let simulator = Simulator::start(options).await.unwrap();
        for key in ["host", "user"] {
            let path = directory.path().join(key);
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path));
        }
        let (server, port) = listen(directory.path(), authorized_keys);
        let file = file(&simulator, DEFAULTS);
        let sshd = Self {
            server,
            port,
            directory,
            simulator,
            file,
        };
        sshd.write_client_config();
        sshd
    }

    fn write_client_config(&self) {
        let ours = env!("CARGO_BIN_EXE_ssm-proxyd");
        let host = fs::read_to_string(self.path("host.pub")).unwrap();
        fs::write(self.path("known"), format!("sshd {host}")).unwrap();
        let text = format!(
            "Host near far nowhere i-*\n\
             Port {port}\n\
             User {user}\n\
             HostKeyAlias sshd\n\
             IdentityFile {directory}/user\n\
             IdentitiesOnly yes\n\
             UserKnownHostsFile {directory}/known\n\
             GlobalKnownHostsFile /dev/null\n\
             StrictHostKeyChecking yes\n\
             BatchMode yes\n\
             ConnectTimeout 60\n\
             Host near\n\
             HostName 127.0.0.1\n\
             Host far\n\
             HostName {TARGET}\n\
             Host far i-*\n\
             ProxyCommand '{ours}' connect %h %p\n",
            port = self.port,
            user = user(),
            directory = self.directory.path().display(),
        );
        fs::write(self.path("ssh_config"), text).unwrap();
    }

    /// A file of the server or its clients.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The same, as an argument.
    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// One of OpenSSH's clients.
    pub(crate) fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(program);
        command
            .arg("-F")
            .arg(self.path("ssh_config"))
            .args(arguments);
        command
    }

    /// A program that calls ssh as `$SSH`.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        take_environment(&mut command, &caller(&self.simulator));
        let ssh = format!("ssh -F {}", self.name("ssh_config"));
        command
            .env("SSM_PROXYD_CONFIG", self.file.path())
            .env("SSH", ssh)
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null());
        command
    }

    /// Makes every push of a key fail with this code.
    pub(crate) fn fail_push(&self, code: &str) {
        let code = code.to_owned();
        let fault = ApiFault { code, times: None };
        self.simulator.fail(Operation::SendSshPublicKey, fault);
    }

    /// Waits until no session is open and each was also ended by us; asserts that none violated the
    /// protocol.
    pub(crate) async fn settle(&self) {
        until("all sessions are terminated", || {
            let sessions = self.simulator.ledger().sessions;
            let mut sessions = sessions.iter();
            sessions.all(|session| !session.is_open() && session.terminate_called)
        })
        .await;
        assert_clean(&self.simulator);
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.server.end("TERM");
    }
}

/// A server on a free port, which another program may take first.
fn listen(directory: &Path, authorized_keys: &str) -> (Process, u16) {
    // sshd of root needs this directory and root may create it; other users need none.
    let _made = fs::create_dir_all("/run/sshd");
    for _ in 0..PORTS {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let text = format!(
            "Port {port}\n\
             ListenAddress 127.0.0.1\n\
             HostKey {directory}/host\n\
             AuthorizedKeysFile {directory}/{authorized_keys}\n\
             PidFile none\n\
             UsePAM no\n\
             StrictModes no\n\
             PermitRootLogin yes\n\
             PasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n\
             UseDNS no\n\
             MaxStartups 100\n\
             Subsystem sftp internal-sftp\n",
            directory = directory.display()
        );
        let config = directory.join("sshd_config");
        fs::write(&config, text).unwrap();
        drop(free);
        // It executes itself again for each connection, so it needs its full path.
        let mut server = Process::start(
            Command::new(sshd())
                .args(["-D", "-e", "-f"])
                .arg(config)
                .stdin(Stdio::null()),
        );
        let line =
            server
                .stderr
                .wait_for_any(&["Server listening", "Cannot bind", "fatal", "error"]);
        if line.contains("Server listening") {
            return (server, port);
        }
        assert!(line.contains("bind"), "{line}");
    }
    panic!("no free port for sshd");
}

/// On Debian it is not in the PATH of users other than root.
fn sshd() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let places = std::env::split_paths(&path).chain(more);
    let found = places.map(|place| place.join("sshd")).find(|p| p.exists());
    found.expect("no sshd; install Debian's package `openssh-server`, or let tests/run do it")
}

/// The user that runs the tests.
pub(crate) fn user() -> String {
    run(Command::new("id").arg("-un")).trim().to_owned()
}

/// Runs a program that must succeed, and returns its output.
pub(crate) fn run(command: &mut Command) -> String {
    let (code, out, err) = ended(command);
    assert_eq!(code, 0, "{command:?}: {out}{err}");
    out
}

/// Runs a program: its exit code, stdout and stderr.
pub(crate) fn ended(command: &mut Command) -> (i32, String, String) {
    let mut process = Process::start(command);
    let code = process.exit_code();
    (code, process.stdout.all(), process.stderr.all())
}

/// Maximum number of ports tried.
const PORTS: usize = 5;
