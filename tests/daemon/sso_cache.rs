//! A daemon whose token of `aws sso login` is in a read-only directory.

use std::fs;
use std::process::Command;

use ssm_proxyd::sim::{ApiFault, Credentials, Operation, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_reset, assert_served, connect, forward_to,
};
use crate::support::in_process::destination;
use crate::support::login_services;
use crate::support::process::{ssm_proxyd, take_environment};

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_token_is_used_until_the_end_with_one_warning() {
    let echo = destination(ServerKind::Echo).await;
    let credentials = Credentials {
        access_key_id: "ASIASSO".to_owned(),
        secret_access_key: "secret/of-sso".to_owned(),
        session_token: Some("session".to_owned()),
    };
    let options = Options {
        credentials,
        require_signature: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let logins = login_services::services();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(login_services::TOKENS)).unwrap();
    fs::write(home.path().join(".aws/config"), login_services::CONFIG).unwrap();
    let token = home.path().join(login_services::TOKEN_FILE);
    fs::write(&token, login_services::EXPIRED_TOKEN).unwrap();
    let mut command = ssm_proxyd();
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env_remove("AWS_CONFIG_FILE")
        .env("HOME", home.path())
        .env("AWS_ENDPOINT_URL_SSO", logins.endpoint())
        .env("AWS_ENDPOINT_URL_SSO_OIDC", logins.endpoint());
    let mut unshared = Command::new("unshare");
    take_environment(&mut unshared, &command);
    let mount = "mount --bind \"$HOME/.aws\" \"$HOME/.aws\" \
                 && mount -o remount,ro,bind \"$HOME/.aws\"";
    let allowed = unshared.args(["--mount", "sh", "-c", mount]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: unshare and mount are not permitted");
        return;
    }
    let mut unshared = Command::new("unshare");
    take_environment(&mut unshared, &command);
    unshared.args(["--mount", "sh", "-c"]);
    unshared.arg(format!("{mount}; exec \"$@\"")).arg("sh");
    unshared.arg(command.get_program());
    let text = forward_to(echo.address());
    let daemon = DaemonProcess::launch(unshared, &simulator.endpoint(), &text);

    assert_echo(&mut connect(daemon.address()), b"first");
    for _ in 0..2 {
        // The cached credentials are dropped, and the portal is called again. It returns the same.
        let code = "ExpiredTokenException".to_owned();
        let times = Some(1);
        simulator.fail(Operation::StartSession, ApiFault { code, times });
        assert_reset(connect(daemon.address()));
        assert_served(daemon.address());
    }
    daemon.process.signal("HUP");
    assert_echo(&mut connect(daemon.address()), b"after a reload");

    let log = daemon.stop(&simulator);
    let warnings = log.matches("cannot write the refreshed SSO token").count();
    assert_eq!(warnings, 1, "{log}");
    assert_eq!(logins.calls("/token").len(), 1);
    let calls = logins.calls("/federation/credentials").len();
    assert!(calls >= 3, "{calls}: {log}");
    assert_eq!(
        fs::read_to_string(&token).unwrap(),
        login_services::EXPIRED_TOKEN
    );
}
