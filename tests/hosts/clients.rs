//! psql and curl verify the real name of a server, which a hosts file leads to a forward.
//!
//! The file is /etc/hosts of a mount namespace, so that the machine's own is not touched. It is
//! mounted as container runtimes do it, and cannot be replaced.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ssm_proxyd::sim::{Options, ServerKind, Simulator};
use tempfile::TempDir;

use crate::cli::ended;
use crate::support::daemon_process::{DaemonProcess, File};
use crate::support::in_process::{TARGET, destination};
use crate::support::postgres::{Server, psql};
use crate::support::tls::TlsServer;

/// The port at the address of the name, on which nothing else listens.
const PORT: u16 = 25432;

/// A hosts file.
struct Hosts {
    directory: TempDir,
}

impl Hosts {
    /// Returns a hosts file; `None` if no process can have its own.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let hosts = Self { directory };
        fs::write(hosts.path(), "127.0.0.1 localhost\n").unwrap();
        let can = Command::new("unshare").arg("--version").output().is_ok()
            && hosts.run(&mut Command::new("true")).0 == 0;
        if !can {
            eprintln!("SKIPPED: this user cannot create a mount namespace with unshare");
        }
        can.then_some(hosts)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    /// Adds the names of a configuration.
    fn install(&self, forwards: &str, address: IpAddr, name: &str) {
        let config = File::new(forwards);
        let mut install = Command::new(env!("CARGO_BIN_EXE_ssm-proxyd"));
        install
            .args(["hosts", "--install", "--config"])
            .arg(config.path());
        let (code, _, output) = self.run(&mut install);
        assert_eq!(code, 0, "{output}");
        let text = fs::read_to_string(self.path()).unwrap();
        assert!(text.contains(&format!("{address} {name}\n")), "{text}");
    }

    /// Runs a command for which the file is /etc/hosts.
    fn run(&self, command: &mut Command) -> (i32, String, String) {
        let mut wrapped = Command::new("unshare");
        wrapped
            .args(["--map-root-user", "--mount", "sh", "-ec"])
            .arg("mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"")
            .arg("sh")
            .arg(self.path())
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        ended(&mut wrapped)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_verifies_the_real_name_through_an_entry_of_the_hosts_file() {
    let Some(hosts) = Hosts::new() else {
        return;
    };
    let server = Server::start_with_tls("names.internal");
    let mut options = Options::default();
    let address = server.address();
    let resolver = &mut options.resolver;
    resolver
        .insert("names.internal", Some(PORT), address)
        .unwrap();
    let simulator = Simulator::start(options).await.unwrap();
    let forward = format!(
        "[[forward]]\nname = \"names\"\nlisten = \"hosts\"\ntarget = \"{TARGET}\"\n\
         remote = \"names.internal:{PORT}\"\n"
    );
    let daemon = DaemonProcess::start(&simulator, &forward);

    hosts.install(&forward, daemon.address().ip(), "names.internal");
    let query = |name: &str| {
        let statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let mut command = psql(daemon.address(), &["-Atc", statement]);
        command
            .env("PGHOST", name)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", server.certificate().unwrap());
        hosts.run(&mut command)
    };
    let (code, out, output) = query("names.internal");
    assert_eq!((code, out.as_str()), (0, "t\n"), "{output}");
    let address = daemon.address().ip().to_string();
    let (code, _, output) = query(&address);
    assert_eq!(code, 2, "{output}");
    let words = format!("does not match host name \"{address}\"");
    assert!(output.contains(&words), "{output}");
    daemon.stop(&simulator);
}

/// The ways of docs/recipes.md.
#[tokio::test(flavor = "multi_thread")]
async fn curl_verifies_the_real_name_by_its_options_and_by_an_entry() {
    let Some(hosts) = Hosts::new() else {
        return;
    };
    let web = destination(ServerKind::Http).await;
    let server = TlsServer::start(web.address(), &["search.internal"]).await;
    let mut options = Options::default();
    let resolver = &mut options.resolver;
    resolver
        .insert("search.internal", Some(PORT), server.address)
        .unwrap();
    let simulator = Simulator::start(options).await.unwrap();
    let forward = format!(
        "[[forward]]\nname = \"search\"\nlisten = \"hosts\"\ntarget = \"{TARGET}\"\n\
         remote = \"search.internal:{PORT}\"\n"
    );
    let daemon = DaemonProcess::start(&simulator, &forward);
    let address = daemon.address();
    hosts.install(&forward, address.ip(), "search.internal");
    let pem = hosts.directory.path().join("server.pem");
    fs::write(&pem, &server.pem).unwrap();
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", "60"]);
        command
            .args(["--noproxy", "*", "--cacert"])
            .arg(&pem)
            .args(arguments);
        command
    };

    let elsewhere = format!("search.internal:443:{address}");
    let resolved = format!("search.internal:{PORT}:{}", address.ip());
    let url = format!("https://search.internal:{PORT}/");
    let to = ["--connect-to", &elsewhere, "https://search.internal/"];
    for (case, (code, out, output)) in [
        ("--connect-to", ended(&mut curl(&to))),
        (
            "--resolve",
            ended(&mut curl(&["--resolve", &resolved, &url])),
        ),
        ("an entry", hosts.run(&mut curl(&[&url]))),
    ] {
        assert_eq!(code, 0, "{case}: {output}");
        assert!(!out.is_empty(), "{case}");
    }
    let (code, _, output) = ended(&mut curl(&[&format!("https://{address}/")]));
    assert_eq!(code, 60, "the name in the certificate is another: {output}");
    daemon.stop(&simulator);
}
