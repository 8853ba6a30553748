//! A real PostgreSQL server for one test: its directory, its port, and its shutdown.
//!
//! It listens on a loopback port, trusts everyone, and does not sync to disk. The server refuses to
//! run as root, so root switches to another user for it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::daemon_process::free_address;
use super::process::Process;

/// A running server. Dropping it stops it and removes its directory.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
    certificate: Option<PathBuf>,
    _directory: TempDir,
}

impl Server {
    /// Creates a cluster and starts it.
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    /// The same, with a certificate for `name`.
    pub(crate) fn start_with_tls(name: &str) -> Self {
        Self::with(Some(name))
    }

    fn with(name: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let owner = Owner::find();
        owner.take(directory.path());
        let data = directory.path().join("data");
        let mut initdb = owner.command(&program("initdb"));
        initdb
            .args(["--no-sync", "--auth=trust", "--username=postgres"])
            .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data);
        let mut made = Process::start(&mut initdb);
        assert_eq!(made.exit_code(), 0, "initdb: {}", made.stderr.all());
        let certificate = name.map(|name| owner.certify(name, directory.path()));
        for _ in 0..PORTS {
            let address = free_address();
            if let Some(process) = serve(&owner, &data, address, certificate.as_deref()) {
                return Self {
                    process,
                    address,
                    certificate,
                    _directory: directory,
                };
            }
        }
        panic!("no free port for PostgreSQL");
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that clients must trust, if it has one.
    pub(crate) fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Immediate shutdown, which frees its shared memory; SIGKILL would not.
        self.process.end("QUIT");
    }
}

/// Starts a server on a port that was free a moment ago; `None` if the port is taken now.
fn serve(
    owner: &Owner,
    data: &Path,
    address: SocketAddr,
    certificate: Option<&Path>,
) -> Option<Process> {
    let mut command = owner.command(&program("postgres"));
    command.arg("-D").arg(data);
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={}", address.port()),
        format!("unix_socket_directories={}", data.display()),
        "fsync=off".to_owned(),
        "full_page_writes=off".to_owned(),
        "max_connections=64".to_owned(),
    ] {
        command.args(["-c", &setting]);
    }
    if let Some(certificate) = certificate {
        let file = |extension| certificate.with_extension(extension).display().to_string();
        for setting in [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("pem")),
            format!("ssl_key_file={}", file("key")),
        ] {
            command.args(["-c", &setting]);
        }
    }
    let mut process = Process::start(&mut command);
    let data = ["ready to accept connections", "could not bind"];
    let line = process.stderr.wait_for_any(&data);
    line.contains(data[0]).then_some(process)
}

/// psql with these arguments, at an address.
pub(crate) fn psql(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = client("psql", address);
    command
        .args(["--no-psqlrc", "--set", "ON_ERROR_STOP=1"])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// pgbench with these arguments, at an address.
pub(crate) fn pgbench(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = client("pgbench", address);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A client program of PostgreSQL, at an address.
pub(crate) fn client(name: &str, address: SocketAddr) -> Command {
    let mut command = Command::new(program(name));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(&name);
        }
    }
    command
        .env("PGHOST", address.ip().to_string())
        .env("PGPORT", address.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", "postgres");
    command
}

/// The user that may run a server.
#[derive(Debug)]
pub(crate) struct Owner {
    /// The user and the group to switch to; `None` to stay the same user.
    other: Option<(u32, u32)>,
}

impl Owner {
    pub(crate) fn find() -> Self {
        let other = (id(&["-u"]) == Some(0)).then(|| {
            let ids = |name| Some((id(&["-u", name])?, id(&["-g", name])?));
            let found = ids("postgres").or_else(|| ids("nobody"));
            found.expect("root needs a user `postgres` or `nobody` to run PostgreSQL as")
        });
        Self { other }
    }

    /// Makes the user the owner of a directory.
    pub(crate) fn take(&self, directory: &Path) {
        if let Some((user, group)) = self.other {
            chown(directory, Some(user), Some(group)).unwrap();
        }
    }

    /// Writes a certificate and its key, which the user may read.
    fn certify(&self, name: &str, directory: &Path) -> PathBuf {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let certificate = directory.join("server.pem");
        let key = certificate.with_extension("key");
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        self.take(&key);
        // The directory belongs to the user, and psql runs as another one.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        certificate
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null());
        if let Some((user, group)) = self.other {
            command.uid(user).gid(group);
        }
        command
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .ok()
}

/// A program of PostgreSQL.
fn program(name: &str) -> PathBuf {
    installed(name, "postgresql")
}

/// A program of a Debian package; the server programs of PostgreSQL are not in PATH.
pub(crate) fn installed(name: &str, package: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut places: Vec<_> = versions.flatten().map(|v| v.path().join("bin")).collect();
    places.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = places
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("no {name}; install Debian's package `{package}`, or let tests/run do it")
    })
}

/// Maximum number of ports tried: another process may take one before the server binds it.
const PORTS: usize = 5;
