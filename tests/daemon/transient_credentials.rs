//! Transient failures of the credentials services, of TLS and of DNS: a connection waits for them,
//! within `connect_timeout`.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use ssm_proxyd::sim::{Credentials, Options, ServerKind, Simulator};
use tempfile::TempDir;

use super::transient_faults::{pass_on, relay};
use crate::support::daemon_process::{
    DaemonProcess, assert_echo, connect, forward_to, free_address,
};
use crate::support::fake_api::{Api, HANG_UP};
use crate::support::in_process::destination;
use crate::support::process::{ssm_proxyd, take_environment};
use crate::support::{credential_endpoints, login_services};

/// The services that return credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Sts,
    WebIdentity,
    Login,
    Instance,
    Container,
}

const SERVICES: [Service; 5] = [
    Service::Sts,
    Service::WebIdentity,
    Service::Login,
    Service::Instance,
    Service::Container,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_any_call_for_credentials_is_retried() {
    let echo = destination(ServerKind::Echo).await;
    for leg in SERVICES {
        // For the SDK a metadata service without a response does not exist.
        let hang_up = (leg != Service::Instance).then_some(HANG_UP);
        for fault in [503, 500].into_iter().chain(hang_up) {
            let (simulator, service) = leg.start().await;
            // Successful requests take 1 to 3 calls.
            for number in 0..leg.calls() {
                let before = Api::before_with(service.address(), move |n| {
                    (n == number).then(|| (fault, "busy".to_owned()))
                });
                let at = format!("{leg:?} {fault} {number}");
                eprintln!("{at}");
                let user = User::new(leg, &before.endpoint());
                let text = forward_to(echo.address());
                let mut daemon =
                    DaemonProcess::launch(user.command(), &simulator.endpoint(), &text);

                assert_echo(&mut connect(daemon.address()), b"hello");

                // The stop may reset the connection: it can be faster than the FIN of the client.
                let log = daemon.process.stderr.rest();
                daemon.stop(&simulator);
                assert!(!log.contains("connection reset"), "{at}: {log}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_waits_for_a_credentials_service_that_refuses_connections() {
    let echo = destination(ServerKind::Echo).await;
    for leg in [Service::Sts, Service::WebIdentity, Service::Login] {
        let (simulator, service) = leg.start().await;
        let address = free_address();
        let user = User::new(leg, &format!("http://{address}"));
        let mut command = user.command();
        command.env("SSM_PROXYD_LOG", "info,ssm_proxyd=debug");
        let text = forward_to(echo.address());
        let mut daemon = DaemonProcess::launch(command, &simulator.endpoint(), &text);

        let mut client = connect(daemon.address());
        let line = daemon
            .process
            .stderr
            .wait_for("StartSession failed; retrying");
        relay(address, service.address());

        assert_echo(&mut client, b"hello");
        assert!(line.contains("cannot reach"), "{leg:?}: {line}");
        drop(client);
        daemon.stop(&simulator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_during_the_tls_handshake_is_retried() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let resets = Arc::new(AtomicUsize::new(0));
    let address = resetting(simulator.address(), 2, Arc::clone(&resets));
    let (command, text) = trusting_caller(&simulator, &format!("https://{address}"));
    let mut daemon = DaemonProcess::of_file(command.0, &(text + &forward_to(echo.address())));

    assert_echo(&mut connect(daemon.address()), b"hello");

    assert_eq!(resets.load(Relaxed), 2);
    let log = daemon.process.stderr.rest();
    daemon.stop(&simulator);
    assert!(!log.contains("connection reset"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_waits_for_a_name_that_is_not_resolved_yet() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let names = tempfile::tempdir().unwrap();
    let hosts = names.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 nobody\n").unwrap();
    // A name server that refuses, so that no other machine is asked.
    fs::write(names.path().join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    let mount = format!(
        "cd {} && mount --bind hosts /etc/hosts && mount --bind resolv.conf /etc/resolv.conf",
        names.path().display()
    );
    let allowed = Command::new("unshare")
        .args(["--mount", "sh", "-c", &mount])
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: unshare and mount are not permitted");
        return;
    }
    let port = simulator.address().port();
    let ((command, _bundle), text) =
        trusting_caller(&simulator, &format!("https://ssm.test:{port}"));
    let mut unshared = Command::new("unshare");
    take_environment(&mut unshared, &command);
    unshared.env("SSM_PROXYD_LOG", "info,ssm_proxyd=debug");
    unshared.args(["--mount", "sh", "-c"]);
    unshared.arg(format!("{mount}; exec \"$@\"")).arg("sh");
    unshared.arg(command.get_program());
    let mut daemon = DaemonProcess::of_file(unshared, &(text + &forward_to(echo.address())));

    let client = connect(daemon.address());
    let line = daemon
        .process
        .stderr
        .wait_for("StartSession failed; retrying");
    fs::write(&hosts, "127.0.0.1 ssm.test\n").unwrap();
    // The certificate is for other names: the API is reached if that is reported.
    let reached = daemon.process.stderr.wait_for("certificate");

    assert!(line.contains("cannot reach the SSM API"), "{line}");
    assert!(!reached.contains("dns"), "{reached}");
    drop(client);
    daemon.stop(&simulator);
}

impl Service {
    /// The number of calls it takes.
    fn calls(self) -> usize {
        match self {
            Self::Sts | Self::WebIdentity | Self::Container => 1,
            Self::Login => 2,
            Self::Instance => 3,
        }
    }

    /// Starts the service, and a simulator that accepts its keys.
    async fn start(self) -> (Simulator, Api) {
        let keys = |id: &str, secret: &str| Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: Some("session".to_owned()),
        };
        let credentials = match self {
            Self::Sts | Self::WebIdentity => keys("ASIAROLE", "not-a-secret"),
            Self::Login => keys("ASIASSO", "secret/of-sso"),
            Self::Instance | Self::Container => keys("ASIAMACHINE", "secret/of-the-machine"),
        };
        let options = Options {
            credentials: credentials.clone(),
            require_signature: true,
            ..Options::default()
        };
        let service = match self {
            Self::Sts | Self::WebIdentity => {
                Api::sts_per_session(Duration::from_secs(3600), move |_| credentials.clone())
            }
            Self::Login => login_services::services(),
            Self::Instance | Self::Container => credential_endpoints::services("good"),
        };
        (Simulator::start(options).await.unwrap(), service)
    }
}

/// A user whose credentials come from a service at this endpoint.
struct User {
    home: TempDir,
    leg: Service,
    endpoint: String,
}

impl User {
    fn new(leg: Service, endpoint: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(login_services::TOKENS)).unwrap();
        let config = match leg {
            Service::Sts => ROLE,
            Service::Login => login_services::CONFIG,
            Service::WebIdentity | Service::Instance | Service::Container => "",
        };
        fs::write(home.path().join(".aws/config"), config).unwrap();
        fs::write(home.path().join("token"), "a.web.token").unwrap();
        fs::write(
            home.path().join(login_services::TOKEN_FILE),
            login_services::EXPIRED_TOKEN,
        )
        .unwrap();
        Self {
            home,
            leg,
            endpoint: endpoint.to_owned(),
        }
    }

    fn command(&self) -> Command {
        let (home, endpoint) = (self.home.path(), &self.endpoint);
        let mut command = ssm_proxyd();
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env_remove("AWS_CONFIG_FILE")
            .env("HOME", home);
        match self.leg {
            Service::Sts => command.env("AWS_ENDPOINT_URL_STS", endpoint),
            Service::WebIdentity => command
                .env("AWS_ENDPOINT_URL_STS", endpoint)
                .env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/tunnel")
                .env("AWS_WEB_IDENTITY_TOKEN_FILE", home.join("token")),
            Service::Login => command
                .env("AWS_ENDPOINT_URL_SSO", endpoint)
                .env("AWS_ENDPOINT_URL_SSO_OIDC", endpoint),
            Service::Instance => command
                .env("AWS_EC2_METADATA_DISABLED", "false")
                .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint),
            Service::Container => {
                let url = format!("{endpoint}/credentials");
                command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
            }
        };
        command
    }
}

/// The caller of a simulator with TLS at this endpoint, and its `[aws]`.
fn trusting_caller(simulator: &Simulator, endpoint: &str) -> ((Command, TempDir), String) {
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("bundle");
    fs::write(&bundle, simulator.certificate_pem().unwrap()).unwrap();
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\nca_bundle = {bundle:?}\n\
         [shutdown]\ndrain_timeout = \"0s\"\n"
    );
    let command = crate::support::daemon_process::caller(simulator);
    ((command, directory), text)
}

/// Passes connections on to `real`, but resets the first few during the handshake.
fn resetting(real: SocketAddr, first: usize, resets: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            if resets.load(Relaxed) < first {
                let mut hello = [0; 64];
                client.read_exact(&mut hello).unwrap();
                resets.fetch_add(1, Relaxed);
                SockRef::from(&client)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                continue;
            }
            pass_on(client, real);
        }
    });
    address
}

const ROLE: &str = "[default]\nrole_arn = arn:aws:iam::111122223333:role/tunnel\n\
    source_profile = base\n[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n";
