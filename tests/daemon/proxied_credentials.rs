//! Calls for credentials behind a proxy: STS and IAM Identity Center are called through it, the
//! metadata services of the machine are not. The names are those of AWS; the proxy routes them to
//! fakes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ssm_proxyd::sim::{Credentials, Options, ServerKind, Simulator};
use tempfile::TempDir;

use super::http::get;
use crate::cli::ended;
use crate::support::connect_proxy::{ConnectProxy, ProxyRequest};
use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, connect, forward, free_address,
};
use crate::support::fake_api::Api;
use crate::support::in_process::{TARGET, destination};
use crate::support::process::ssm_proxyd;
use crate::support::tinyproxy::Tinyproxy;
use crate::support::tls::TlsServer;
use crate::support::{credential_endpoints, login_services};

/// The host names of STS and of IAM Identity Center.
const STS: &str = "sts.us-east-1.amazonaws.com:443";
const PORTAL: &str = "portal.sso.eu-central-1.amazonaws.com:443";
const OIDC: &str = "oidc.eu-central-1.amazonaws.com:443";

/// A source of credentials, and the hosts that are called for them.
struct Source {
    name: &'static str,
    config: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// Keys of the forward.
    keys: &'static str,
    hosts: &'static [&'static str],
}

const SOURCES: [Source; 5] = [
    Source {
        name: "the role of a profile",
        config: "[default]\nrole_arn = arn:aws:iam::111122223333:role/tunnel\n\
                 source_profile = base\n[profile base]\naws_access_key_id = a\n\
                 aws_secret_access_key = b\n",
        environment: &[],
        keys: "",
        hosts: &[STS],
    },
    Source {
        name: "the role of a forward",
        config: "[default]\naws_access_key_id = a\naws_secret_access_key = b\n",
        environment: &[],
        keys: "role_arn = \"arn:aws:iam::111122223333:role/tunnel\"",
        hosts: &[STS],
    },
    Source {
        name: "a web identity of a profile",
        config: "[default]\nrole_arn = arn:aws:iam::111122223333:role/tunnel\n\
                 web_identity_token_file = @DIR@/web-token\n",
        environment: &[],
        keys: "",
        hosts: &[STS],
    },
    Source {
        name: "a web identity of the environment",
        config: "",
        environment: &[
            ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/tunnel"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "@DIR@/web-token"),
        ],
        keys: "",
        hosts: &[STS],
    },
    Source {
        name: "a refreshed SSO token",
        config: login_services::CONFIG,
        environment: &[],
        keys: "",
        hosts: &[OIDC, PORTAL],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_source_of_credentials_uses_the_proxy() {
    let echo = destination(ServerKind::Echo).await;
    let remote = Remote::new().await;
    for source in &SOURCES {
        for is_in_file in [true, false] {
            let proxy = remote.proxy(|_| None);
            let user = Caller::new(&remote, source);

            let daemon = user.daemon(&url(proxy.address()), is_in_file, echo.address());

            assert_echo(&mut connect(daemon.address()), b"hello");
            let log = daemon.stop(&remote.simulator);
            for host in source.hosts {
                let requests = proxy.requests();
                let found = requests.iter().find(|requests| requests.host == *host);
                let found = found
                    .unwrap_or_else(|| panic!("{}: {host} is not in {requests:?}", source.name));
                assert_eq!(found.authorization.as_deref(), Some("Basic bWU6czNjcmV0"));
            }
            assert!(!log.contains("s3cret"), "{}: {log}", source.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_a_source_of_credentials_is_reported() {
    let remote = Remote::new().await;
    for source in &SOURCES {
        for host in source.hosts {
            for (answer, text) in [
                ("407 Proxy Authentication Required", "(HTTP 407)"),
                ("403 Forbidden", "unsuccessful"),
            ] {
                let proxy =
                    remote.proxy(move |requests| (requests.host == *host).then_some(answer));
                let address = proxy.address().to_string();
                let user = Caller::new(&remote, source);

                let (code, err) = user.connect(&url(proxy.address()));

                let at = format!("{} {answer}: {err}", source.name);
                assert_eq!(code, 69, "{at}");
                let expected = ["cannot connect through the proxy", &address, text];
                assert_names(&err, &expected);
                let service = if *host == STS { "(STS)" } else { "(SSO)" };
                assert_names(&err, &[service, "user and password"]);
                assert!(!err.contains("s3cret"), "{at}");
                assert!(!err.contains("sts:AssumeRole"), "{at}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_logs_a_proxy_that_refuses_a_source_of_credentials() {
    let remote = Remote::new().await;
    let answer = "407 Proxy Authentication Required";
    for source in &SOURCES {
        let host = source.hosts[0];
        let proxy = remote.proxy(move |requests| (requests.host == host).then_some(answer));
        let user = Caller::new(&remote, source);
        let http = free_address();
        let aws = format!("proxy = \"{}\"\n", url(proxy.address()));
        let text = user.file(&aws, remote.simulator.address());
        let text = format!("{text}\n[http]\nlisten = \"{http}\"\n");
        let mut daemon = DaemonProcess::of_file(user.command(), &text);

        assert_reset(connect(daemon.address()));

        let line = daemon.process.stderr.wait_for("no session");
        assert_names(
            &line,
            &["cannot connect through the proxy", "HTTP 407", "hint="],
        );
        let body = get(http, "/readiness").body;
        assert_eq!(body, "ready\nfailing: f ProxyRefused\n", "{}", source.name);
        let log = daemon.stop(&remote.simulator);
        assert!(!log.contains("s3cret"), "{}: {log}", source.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_of_the_machine_are_called_without_the_proxy() {
    let remote = Remote::new().await;
    for variable in [
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ] {
        let machine = credential_endpoints::services("good");
        let proxy = remote.proxy(|_| None);
        let user = Caller::new(&remote, &NOTHING);
        let mut command = user.command();
        let path = match variable.contains("CONTAINER") {
            true => "/credentials",
            false => "",
        };
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
            command.env(name, format!("http://{}", proxy.address()));
        }
        command
            .env("AWS_EC2_METADATA_DISABLED", "false")
            .env(variable, format!("{}{path}", machine.endpoint()));
        let file = user.file("", remote.simulator.address());
        let mut daemon = DaemonProcess::of_file(command, &file);

        assert_reset(connect(daemon.address()));

        // The simulator accepts other keys.
        let line = daemon.process.stderr.wait_for("WARN");
        assert_names(&line, &["UnrecognizedClientException"]);
        let requests = proxy.requests();
        let is_api = |requests: &ProxyRequest| requests.host.starts_with("ssm");
        assert!(requests.iter().all(is_api), "{variable}: {requests:?}");
        daemon.stop(&remote.simulator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tinyproxy_carries_calls_for_credentials_and_its_refusal_is_reported() {
    let echo = destination(ServerKind::Echo).await;
    let remote = Remote::new().await;
    let upstream = remote.proxy(|_| None);
    let Some(tinyproxy) = Tinyproxy::start(upstream.address()).await else {
        eprintln!("SKIPPED: tinyproxy is not installed");
        return;
    };
    let address = tinyproxy.address;
    for source in &SOURCES {
        let user = Caller::new(&remote, source);
        let before = upstream.requests().len();

        let daemon = user.daemon(&url(address), false, echo.address());
        assert_echo(&mut connect(daemon.address()), b"hello");
        daemon.stop(&remote.simulator);
        let refused = user.connect(&format!("http://{address}"));
        // tinyproxy answers a wrong password with HTTP 401.
        let wrong_password = user.connect(&format!("http://me:other@{address}"));

        let requests = &upstream.requests()[before..];
        for host in source.hosts {
            let is_asked = requests.iter().any(|requests| requests.host == *host);
            assert!(is_asked, "{}: {host} is not in {requests:?}", source.name);
        }
        for ((code, err), text) in [(refused, "(HTTP 407)"), (wrong_password, "unsuccessful")] {
            assert_eq!(code, 69, "{}: {err}", source.name);
            assert_names(
                &err,
                &[
                    "cannot connect through the proxy",
                    text,
                    "user and password",
                ],
            );
        }
    }
}

/// The URL of a proxy, with the user and the password that it requires.
fn url(proxy: SocketAddr) -> String {
    format!("http://me:s3cret@{proxy}")
}

const NOTHING: Source = Source {
    name: "nothing",
    config: "",
    environment: &[],
    keys: "",
    hosts: &[],
};

/// The simulator, STS and IAM Identity Center, with TLS and the host names of AWS.
struct Remote {
    simulator: Simulator,
    sts: TlsServer,
    logins: TlsServer,
    _services: [Api; 2],
}

impl Remote {
    async fn new() -> Self {
        // Those of the fake portal, which STS returns too.
        let credentials = Credentials {
            access_key_id: "ASIASSO".to_owned(),
            secret_access_key: "secret/of-sso".to_owned(),
            session_token: Some("session".to_owned()),
        };
        let options = Options {
            tls: true,
            public_names: true,
            require_signature: true,
            credentials: credentials.clone(),
            ..Options::default()
        };
        let sts = Api::sts_per_session(Duration::from_secs(3600), move |_| credentials.clone());
        let logins = login_services::services();
        let host = |name: &'static str| name.strip_suffix(":443").unwrap();
        Self {
            simulator: Simulator::start(options).await.unwrap(),
            sts: TlsServer::start(sts.address(), &[host(STS)]).await,
            logins: TlsServer::start(logins.address(), &[host(PORTAL), host(OIDC)]).await,
            _services: [sts, logins],
        }
    }

    fn proxy(
        &self,
        refusal: impl Fn(&ProxyRequest) -> Option<&'static str> + Send + Sync + 'static,
    ) -> ConnectProxy {
        let api = self.simulator.address();
        let (sts, logins) = (self.sts.address, self.logins.address);
        let route = move |host: &str| match host {
            STS => sts,
            PORTAL | OIDC => logins,
            _ => api,
        };
        ConnectProxy::routing(route, refusal)
    }
}

/// A user whose files use a source of credentials.
struct Caller<'a> {
    files: TempDir,
    source: &'a Source,
}

impl<'a> Caller<'a> {
    fn new(remote: &Remote, source: &'a Source) -> Self {
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let pem = remote.simulator.certificate_pem().unwrap().to_owned();
        write(
            "bundle",
            &[&*pem, &remote.sts.pem, &remote.logins.pem].join("\n"),
        );
        write("config", &here(source.config, files.path()));
        write("web-token", "a.web.token");
        write(login_services::TOKEN_FILE, login_services::EXPIRED_TOKEN);
        Self { files, source }
    }

    fn command(&self) -> Command {
        let mut command = ssm_proxyd();
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("HOME", self.files.path())
            .env("AWS_CONFIG_FILE", self.files.path().join("config"));
        for (name, value) in self.source.environment {
            command.env(name, here(value, self.files.path()));
        }
        command
    }

    /// Returns the text of a configuration with these keys of `[aws]`.
    fn file(&self, aws: &str, destination: SocketAddr) -> String {
        let bundle = self.files.path().join("bundle");
        let port = destination.port();
        let keys = format!("remote = {port}\n{}", self.source.keys);
        format!(
            "[aws]\nregion = \"us-east-1\"\nca_bundle = {bundle:?}\n{aws}\
             [shutdown]\ndrain_timeout = \"0s\"\n{}",
            forward("f", &keys)
        )
    }

    fn daemon(&self, url: &str, is_in_file: bool, destination: SocketAddr) -> DaemonProcess {
        let mut command = self.command();
        let aws = match is_in_file {
            true => format!("proxy = \"{url}\"\n"),
            false => {
                command.env("HTTPS_PROXY", url);
                String::new()
            }
        };
        DaemonProcess::of_file(command, &self.file(&aws, destination))
    }

    /// Runs `connect` and returns its exit code and message.
    fn connect(&self, url: &str) -> (i32, String) {
        let file = self.files.path().join("settings");
        let bundle = self.files.path().join("bundle");
        let role = self.source.keys;
        let text = format!("[aws]\nregion = \"us-east-1\"\nca_bundle = {bundle:?}\n{role}\n");
        fs::write(&file, text).unwrap();
        let mut command = self.command();
        command
            .env("HTTPS_PROXY", url)
            .env("SSM_PROXYD_CONFIG", file)
            .args(["connect", TARGET]);
        let (code, _, err) = ended(&mut command);
        (code, err)
    }
}

fn here(text: &str, directory: &Path) -> String {
    text.replace("@DIR@", directory.to_str().unwrap())
}
