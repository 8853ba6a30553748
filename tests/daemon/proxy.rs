//! A proxy between the daemon and AWS. The names are those of AWS; the proxy routes them to a
//! simulator, so no name is resolved and nothing leaves this machine.

use std::io::Write as _;
use std::process::Command;

use ssm_proxyd::sim::{DisconnectKind, OneOffFault, Options, ServerKind, Simulator};

use crate::cli::ended;
use crate::support::connect_proxy::ConnectProxy;
use crate::support::daemon_process::{
    DaemonProcess, File, assert_echo, assert_names, assert_reset, caller, connect, forward,
    forward_to,
};
use crate::support::in_process::destination;
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_and_the_websocket_both_go_through_the_proxy() {
    let echo = destination(ServerKind::Echo).await;
    let remote = Remote::new().await;
    let open = remote.proxy(|_| None);
    let configured = format!("proxy = \"http://me:s3%2Fcret@{}\"\n", open.address());
    let text = forward_to(echo.address());

    for variable in [
        None,
        Some("HTTPS_PROXY"),
        Some("https_proxy"),
        Some("ALL_PROXY"),
    ] {
        let before = open.requests().len();
        let mut command = remote.caller();
        command.env("SSM_PROXYD_LOG", "trace");
        let keys = match variable {
            None => &*configured,
            Some(name) => {
                command.env(name, format!("http://me:s3%2Fcret@{}", open.address()));
                ""
            }
        };
        let daemon = remote.daemon(command, keys, &text);

        assert_echo(&mut connect(daemon.address()), b"hello");

        let log = daemon.stop(&remote.simulator);
        let requests = &open.requests()[before..];
        for host in [
            "ssm.us-east-1.amazonaws.com:443",
            "ssmmessages.us-east-1.amazonaws.com:443",
        ] {
            let found = requests.iter().find(|requests| requests.host == host);
            let found =
                found.unwrap_or_else(|| panic!("{variable:?}: {host} is not in {requests:?}"));
            assert_eq!(
                found.authorization.as_deref(),
                Some("Basic bWU6czMvY3JldA==")
            );
        }
        for secret in ["s3%2Fcret", "s3/cret", "bWU6czMvY3JldA"] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{variable:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_file_is_used_and_not_that_of_the_environment() {
    let echo = destination(ServerKind::Echo).await;
    let remote = Remote::new().await;
    let (ours, other) = (
        remote.proxy(|_| None),
        remote.proxy(|_| Some("403 Forbidden")),
    );
    let mut command = remote.caller();
    command.env("HTTPS_PROXY", format!("http://{}", other.address()));
    command.env("NO_PROXY", "amazonaws.com");
    let keys = format!("proxy = \"http://{}\"\n", ours.address());
    let daemon = remote.daemon(command, &keys, &forward_to(echo.address()));

    assert_echo(&mut connect(daemon.address()), b"hello");

    daemon.stop(&remote.simulator);
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_fails_to_connect_is_reported_with_a_remedy() {
    let remote = Remote::new().await;
    for (host, answer, expected) in [
        (
            "ssm.",
            "407 Proxy Authentication Required",
            [
                "cannot connect through the proxy",
                "authorization required",
                "user and password",
            ],
        ),
        (
            "ssm.",
            "403 Forbidden",
            [
                "cannot connect through the proxy",
                "unsuccessful",
                "CONNECT",
            ],
        ),
        (
            "ssmmessages.",
            "407 Proxy Authentication Required",
            ["cannot open the data channel", "HTTP 407", "USER:PASSWORD"],
        ),
        (
            "ssmmessages.",
            "403 Not allowed",
            [
                "cannot open the data channel",
                "HTTP 403 Not allowed",
                "must allow CONNECT",
            ],
        ),
    ] {
        let shut = remote.proxy(move |requests| requests.host.starts_with(host).then_some(answer));
        let address = shut.address().to_string();
        let keys = format!("proxy = \"http://me:s3cret@{address}\"\n");
        let text = forward("f", "remote = 1\nconnect_timeout = \"1s\"");
        let mut daemon = remote.daemon(remote.caller(), &keys, &text);

        assert_reset(connect(daemon.address()));
        let line = daemon.process.stderr.wait_for("WARN");

        assert_names(&line, &expected);
        assert_names(&line, &["serving{forward=\"f\"}", &address, "hint="]);
        let log = daemon.stop(&remote.simulator);
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_behind_the_proxy_names_it() {
    let echo = destination(ServerKind::Echo).await;
    let remote = Remote::new().await;
    let open = remote.proxy(|_| None);
    let keys = format!("proxy = \"http://me:s3cret@{}\"\n", open.address());
    let mut daemon = remote.daemon(remote.caller(), &keys, &forward_to(echo.address()));
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"before");

    let broken = OneOffFault::Break(DisconnectKind::Reset);
    assert_eq!(remote.simulator.inject(None, broken), 1);

    let line = daemon.process.stderr.wait_for("resuming the session");
    let words = format!("through the proxy http://{}", open.address());
    assert_names(&line, &[&words]);
    assert_echo(&mut client, b"after");
    let log = daemon.stop(&remote.simulator);
    assert!(!log.contains("s3cret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_call_that_fails_behind_the_proxy_names_it() {
    let echo = destination(ServerKind::Echo).await;
    let remote = Remote::new().await;
    // Its reply is not that of a TLS server.
    let proxy = ConnectProxy::to(echo.address(), |_| None);
    let address = proxy.address().to_string();
    let keys = format!("proxy = \"http://me:s3cret@{address}\"\n");
    let text = forward("f", "remote = 1\nconnect_timeout = \"1s\"");
    let mut daemon = remote.daemon(remote.caller(), &keys, &text);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert_names(&line, &["cannot reach", &address, "hint="]);
    let log = daemon.stop(&remote.simulator);
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn an_unusable_proxy_of_the_environment_is_reported_at_the_start() {
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\n{}",
        forward("f", "remote = 1")
    ));
    for (value, expected) in [
        ("socks5h://me:s3cret@127.0.0.1:1", "socks5h://"),
        ("http://me:s3cret@", "malformed"),
    ] {
        let mut command = ssm_proxyd();
        command.env("HTTPS_PROXY", value);

        let (code, _, err) = ended(command.args(["run", "--config"]).arg(file.path()));

        assert_eq!(code, 78, "{err}");
        assert_names(&err, &["proxy", expected, "HTTPS_PROXY", "NO_PROXY"]);
        assert!(!err.contains("s3cret"), "{err}");
    }
}

#[test]
fn a_socks_proxy_for_everything_is_ignored_with_a_warning() {
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\n{}",
        forward("f", "remote = 1")
    ));
    for name in ["ALL_PROXY", "all_proxy"] {
        let mut command = ssm_proxyd();
        command.env(name, "socks5://me:s3cret@127.0.0.1:1");
        let mut daemon = Process::start(command.args(["run", "--config"]).arg(file.path()));

        let line = daemon.stderr.wait_for("WARN");

        assert_names(&line, &[name, "socks5://", "ignoring", "HTTPS_PROXY"]);
        daemon.stderr.wait_for("listening");
        daemon.end("TERM");
        assert!(!daemon.stderr.all().contains("s3cret"));
    }
}

#[test]
fn no_proxy_of_the_environment_is_used_where_the_file_sets_none() {
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\nproxy = \"none\"\n{}",
        forward("f", "remote = 1")
    ));
    let mut command = ssm_proxyd();
    command.env("HTTPS_PROXY", "http://proxy.corp:3128");

    let (code, out, err) = ended(command.args(["check", "--config"]).arg(file.path()));

    assert_eq!(code, 0, "{err}");
    assert!(!out.contains("proxy.corp"), "{out}");
}

#[test]
fn whitespace_around_a_proxy_of_the_environment_is_ignored() {
    let file = File::new(&format!(
        "[aws]\nregion = \"us-east-1\"\n{}",
        forward("f", "remote = 1")
    ));
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let mut command = ssm_proxyd();
        command.env(name, " http://me:s3cret@proxy.corp:3128\n");
        command.env("NO_PROXY", "a.com\n");

        let (code, out, err) = ended(command.args(["check", "--config"]).arg(file.path()));

        assert_eq!(code, 0, "{name}: {err}");
        let row = "  proxy                 http://proxy.corp:3128\n  no_proxy              a.com\n";
        assert_names(&out, &[row]);
    }
}

#[test]
fn check_prints_the_proxy_without_its_password() {
    let file = File::new(&format!(
        "[aws]\nproxy = \"http://me:s3cret@proxy.corp:3128\"\n{}",
        forward("f", "remote = 1")
    ));
    let output = |options: &[&str]| {
        let (code, out, _) = ended(
            ssm_proxyd()
                .args(["check", "--config"])
                .arg(file.path())
                .args(options),
        );
        assert_eq!(code, 0, "{out}");
        assert!(!out.contains("s3cret"), "{out}");
        out
    };

    assert_names(
        &output(&[]),
        &["  proxy                 http://proxy.corp:3128\n"],
    );
    assert_names(
        &output(&["--json"]),
        &["\"proxy\":\"http://proxy.corp:3128\""],
    );
}

/// A simulator with the host names of AWS, and a caller that trusts it.
struct Remote {
    simulator: Simulator,
    bundle: tempfile::NamedTempFile,
}

impl Remote {
    async fn new() -> Self {
        let options = Options {
            tls: true,
            public_names: true,
            require_signature: true,
            ..Options::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let mut bundle = tempfile::NamedTempFile::new().unwrap();
        let pem = simulator.certificate_pem().unwrap();
        bundle.write_all(pem.as_bytes()).unwrap();
        Self { simulator, bundle }
    }

    fn proxy(
        &self,
        refusal: impl Fn(&crate::support::connect_proxy::ProxyRequest) -> Option<&'static str>
        + Send
        + Sync
        + 'static,
    ) -> ConnectProxy {
        ConnectProxy::to(self.simulator.address(), refusal)
    }

    fn caller(&self) -> Command {
        caller(&self.simulator)
    }

    fn daemon(&self, command: Command, keys: &str, forwards: &str) -> DaemonProcess {
        let bundle = self.bundle.path().display();
        let aws = format!("[aws]\nregion = \"us-east-1\"\nca_bundle = \"{bundle}\"\n{keys}");
        DaemonProcess::of_file(command, &(aws + forwards))
    }
}
