//! One identity for every call and signature of a session, however long the session lives.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ssm_proxyd::sim::{ApiFault, Credentials, Operation, Options, ServerKind, Simulator};

use crate::support::daemon_process::{DaemonProcess, assert_echo, connect, forward_to};
use crate::support::fake_api::Api;
use crate::support::in_process::{destination, until};
use crate::support::process::ssm_proxyd;

const ARN: &str = "arn:aws:iam::111122223333:role/tunnel";

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_a_profile_without_a_session_name_is_one_role_session() {
    let text = format!(
        "[default]\nrole_arn = {ARN}\nsource_profile = middle\n\
         [profile middle]\nrole_arn = {ARN}er\nsource_profile = base\n\
         [profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
    );

    one_role_session("AssumeRole", &text, |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_a_web_identity_is_one_role_session() {
    one_role_session("AssumeRoleWithWebIdentity", "", |command, token| {
        command
            .env("AWS_ROLE_ARN", ARN)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", token);
    })
    .await;
}

/// Several connections across several refreshes, while only one role session is valid.
async fn one_role_session(operation: &str, config: &str, change: impl Fn(&mut Command, &Path)) {
    let echo = destination(ServerKind::Echo).await;
    let simulator = accepting_only(of_role_session("ssm-proxyd")).await;
    // Long enough for a call on a loaded machine.
    let sts = Api::sts_per_session(Duration::from_secs(8), of_role_session);
    let files = files(config);
    let token = files.path().join("token");
    std::fs::write(&token, "a-web-identity").unwrap();
    let mut command = caller(files.path());
    command.env("AWS_ENDPOINT_URL_STS", sts.endpoint());
    change(&mut command, &token);
    let daemon = DaemonProcess::launch(command, &simulator.endpoint(), &forward_to(echo.address()));

    let before = sts.calls(operation).len();
    while sts.calls(operation).len() < before + 6 {
        assert_echo(&mut connect(daemon.address()), b"hello");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    until("all sessions are ended", || simulator.open_sessions() == 0).await;
    let sessions = simulator.ledger().sessions;
    let signatures = sessions
        .iter()
        .flat_map(|session| &session.upgrade_signatures);
    assert!(signatures.into_iter().all(|signature| signature == "valid"));
    let log = daemon.stop(&simulator);
    assert!(!log.contains("WARN"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_fails_no_connection_if_the_files_have_a_new_one() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let files = files("[default]\naws_access_key_id = one\naws_secret_access_key = b\n");
    let command = caller(files.path());
    let daemon = DaemonProcess::launch(command, &simulator.endpoint(), &forward_to(echo.address()));
    let mut first = connect(daemon.address());
    assert_echo(&mut first, b"first");
    write(
        files.path(),
        "[default]\naws_access_key_id = two\naws_secret_access_key = b\n",
    );
    for operation in [Operation::StartSession, Operation::TerminateSession] {
        let fault = ApiFault {
            code: "ExpiredTokenException".to_owned(),
            times: Some(1),
        };
        simulator.fail(operation, fault);
    }

    assert_echo(&mut connect(daemon.address()), b"second");
    drop(first);

    until("all sessions are ended", || simulator.open_sessions() == 0).await;
    let log = daemon.stop(&simulator);
    assert!(!log.contains("WARN"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_files_again_and_keeps_open_connections() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = accepting_all().await;
    let files = files("[default]\naws_access_key_id = old\naws_secret_access_key = b\n");
    let command = caller(files.path());
    let mut daemon =
        DaemonProcess::launch(command, &simulator.endpoint(), &forward_to(echo.address()));
    let mut first = connect(daemon.address());
    assert_echo(&mut first, b"first");
    let keys = of_role_session("new");
    let text = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n",
        keys.access_key_id,
        keys.secret_access_key,
        keys.session_token.unwrap()
    );
    write(files.path(), &text);

    daemon.process.signal("HUP");
    daemon.process.stderr.wait_for("reloaded");
    assert_echo(&mut connect(daemon.address()), b"second");
    assert_echo(&mut first, b"still here");

    let sessions = simulator.ledger().sessions;
    assert_ne!(sessions[0].upgrade_signatures, ["valid"]);
    assert_eq!(sessions[1].upgrade_signatures, ["valid"]);
    drop(first);
    daemon.stop(&simulator);
}

/// The keys of a role session.
fn of_role_session(name: &str) -> Credentials {
    Credentials {
        access_key_id: format!("AKID{name}"),
        secret_access_key: format!("not-a-secret-{name}"),
        session_token: Some(format!("token-{name}")),
    }
}

async fn accepting_only(credentials: Credentials) -> Simulator {
    let options = Options {
        credentials,
        require_signature: true,
        ..Options::default()
    };
    Simulator::start(options).await.unwrap()
}

/// A simulator that reports unknown signatures, and serves everyone.
async fn accepting_all() -> Simulator {
    let options = Options {
        credentials: of_role_session("new"),
        ..Options::default()
    };
    Simulator::start(options).await.unwrap()
}

fn files(config: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), config);
    directory
}

fn write(directory: &Path, config: &str) {
    std::fs::write(directory.join("config"), config).unwrap();
}

/// The binary with the AWS files of this directory, and no keys in its environment.
fn caller(directory: &Path) -> Command {
    let mut command = ssm_proxyd();
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_CONFIG_FILE", directory.join("config"));
    command
}
