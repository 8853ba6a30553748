//! Real programs through a proxy: curl, git, psql behind proxychains, and kubectl.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use ssm_proxyd::sim::ServerKind;

use super::{proxy, simulator};
use crate::cli::ended;
use crate::support::daemon_process::{DaemonProcess, File};
use crate::support::in_process::destination;
use crate::support::postgres;
use crate::support::process::Process;
use crate::support::tls::TlsServer;

#[tokio::test(flavor = "multi_thread")]
async fn curl_uses_each_protocol_and_reports_a_denied_destination() {
    let web = destination(ServerKind::Http).await;
    let simulator = simulator(&["web.internal", "2001:db8::7"], web.address()).await;
    let rules = "\"web.internal:80\", \"[2001:db8::/32]:80\"";
    let daemon = DaemonProcess::start(&simulator, &proxy(rules, ""));
    let at = daemon.address().to_string();
    let tunnel = ["--proxytunnel", "--proxy", &at];
    for option in [
        &["--socks5-hostname", &at][..],
        &["--socks4a", &at],
        &tunnel,
    ] {
        let (code, _, error) = curl(option, "http://web.internal/");
        assert_eq!(code, 0, "{option:?}: {error}");

        let (code, _, error) = curl(option, "http://other.internal/");
        assert_ne!(code, 0, "{option:?}");
        let is_told = ["(2)", "403", "91"].iter().any(|text| error.contains(text));
        assert!(is_told, "{option:?}: {error}");
    }
    let (code, _, error) = curl(&["--socks5-hostname", &at], "http://[2001:db8::7]/");
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = curl(&tunnel, "http://[2001:db8::7]/");
    assert_eq!(code, 0, "{error}");

    let (_, body, _) = curl(&["--proxy", &at], "http://web.internal/");

    assert!(body.contains("only CONNECT is supported"), "{body}");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_through_socks() {
    let directory = tempfile::tempdir().unwrap();
    let (work, bare) = (
        directory.path().join("work"),
        directory.path().join("r.git"),
    );
    let (work, bare) = (work.to_str().unwrap(), bare.to_str().unwrap());
    git(directory.path(), &["init", "-q", work]);
    std::fs::write(Path::new(work).join("file"), "content").unwrap();
    git(Path::new(work), &["add", "file"]);
    git(Path::new(work), &["commit", "-q", "-m", "first"]);
    git(directory.path(), &["clone", "-q", "--bare", work, bare]);
    git(Path::new(bare), &["update-server-info"]);
    let (_server, address) = file_server(directory.path());
    let simulator = simulator(&["git.internal"], address).await;
    let daemon = DaemonProcess::start(&simulator, &proxy("\"git.internal:80\"", ""));
    let setting = format!("http.proxy=socks5h://{}", daemon.address());

    let clone = [
        "-c",
        &setting,
        "clone",
        "-q",
        "http://git.internal/r.git",
        "got",
    ];
    git(directory.path(), &clone);

    let got = std::fs::read_to_string(directory.path().join("got/file")).unwrap();
    assert_eq!(got, "content");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_queries_behind_a_socks_wrapper() {
    let server = postgres::Server::start();
    let simulator = simulator(&["db.internal"], server.address()).await;
    let daemon = DaemonProcess::start(&simulator, &proxy("\"db.internal:5432\"", ""));
    let wrapper = File::new(&format!(
        "strict_chain\nproxy_dns\nquiet_mode\n[ProxyList]\nsocks5 127.0.0.1 {}\n",
        daemon.address().port()
    ));
    let mut command = Command::new("proxychains4");
    command
        .arg("-f")
        .arg(wrapper.path())
        .args(["psql", "--no-psqlrc", "-AtX"])
        .args(["host=db.internal port=5432 user=postgres dbname=postgres sslmode=disable"])
        .args(["-c", "select 6 * 7"]);

    let (code, out, error) = ended(&mut command);

    assert_eq!((code, out.trim()), (0, "42"), "{error}");
    daemon.stop(&simulator);
}

/// Only where kubectl is installed: distributions have no recent one.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_uses_the_proxy_url_of_its_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let (_api, api) = file_server(directory.path());
    let server = TlsServer::start(api, &["api.eks.internal"]).await;
    let simulator = simulator(&["api.eks.internal"], server.address).await;
    let daemon = DaemonProcess::start(&simulator, &proxy("\"*.eks.internal:443\"", ""));
    let authority = File::new(&server.pem);
    let config = |scheme: &str| {
        File::new(&format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters:\n- name: k\n  cluster:\n    server: https://api.eks.internal\n    \
             proxy-url: {scheme}://{}\n    certificate-authority: {}\n\
             contexts:\n- name: c\n  context: {{cluster: k, user: u}}\nusers:\n- name: u\n  user: {{token: t}}\n",
            daemon.address(),
            authority.path().display()
        ))
    };
    for scheme in ["socks5", "http"] {
        let config = config(scheme);
        match kubectl(&config.path()) {
            Some((code, _, error)) => assert_eq!(code, 0, "{scheme}: {error}"),
            None => println!("kubectl is not installed: {scheme} is not tested with it"),
        }
    }
    daemon.stop(&simulator);
}

/// A web server of the files in a directory.
pub(super) fn file_server(directory: &Path) -> (Process, SocketAddr) {
    let mut command = Command::new("python3");
    command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]);
    let mut server = Process::start(command.current_dir(directory));
    let line = server.stdout.wait_for("http://");
    let (_, rest) = line.split_once("http://").unwrap();
    let (address, _) = rest.split_once('/').unwrap();
    (server, address.parse().unwrap())
}

fn kubectl(config: &Path) -> Option<(i32, String, String)> {
    let version = Command::new("kubectl")
        .args(["version", "--client"])
        .output();
    version.ok().filter(|output| output.status.success())?;
    let mut command = Command::new("kubectl");
    command
        .arg("--kubeconfig")
        .arg(config)
        .args(["get", "--raw", "/"]);
    Some(ended(&mut command))
}

fn curl(options: &[&str], url: &str) -> (i32, String, String) {
    let mut command = Command::new("curl");
    command
        .args([
            "-q",
            "--silent",
            "--show-error",
            "--noproxy",
            "",
            "--max-time",
            "60",
        ])
        .args(options)
        .arg(url);
    ended(&mut command)
}

fn git(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
        ])
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@b")])
        .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@b")])
        .args(arguments);
    let (code, _, error) = ended(&mut command);
    assert_eq!(code, 0, "{arguments:?}: {error}");
}
