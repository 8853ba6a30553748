//! The region, profile and role of AWS calls: those of the forward, and the roles it assumes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ssm_proxyd::sim::{Credentials, EndedBy, Options, ServerKind, Simulator};

use crate::cli::ended;
use crate::support::daemon_process::{
    DaemonProcess, File, assert_echo, assert_names, assert_reset, connect, forward, listening,
};
use crate::support::fake_api::Api;
use crate::support::in_process::{destination, until};
use crate::support::process::{Process, ssm_proxyd};

const ARN: &str = "arn:aws:iam::111122223333:role/tunnel";

#[tokio::test(flavor = "multi_thread")]
async fn each_forward_uses_the_account_and_region_of_its_settings() {
    let echo = destination(ServerKind::Echo).await;
    let one = simulator("us-east-1", credentials("one")).await;
    let two = simulator("eu-north-1", credentials("two")).await;
    let files = Files::new(&[("one", &one), ("two", &two)]);
    let remote = format!("remote = {}\n", echo.address().port());
    let text = [
        forward("one", &format!("{remote}profile = \"one\"")),
        forward(
            "two",
            &format!("{remote}profile = \"two\"\nregion = \"eu-north-1\""),
        ),
    ];
    // The keys of the environment are valid for no simulator, and AWS_REGION is the region of the
    // first.
    let mut command = files.caller();
    command.env("AWS_REGION", "us-east-1");
    let daemon = DaemonProcess::without_endpoint(command, &text.concat());

    assert_echo(&mut connect(daemon.address_of("one")), b"first");
    assert_echo(&mut connect(daemon.address_of("two")), b"second");

    assert_eq!((one.ledger().started, two.ledger().started), (1, 1));
    until("both sessions are ended", || two.open_sessions() == 0).await;
    daemon.stop(&one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_once_for_all_forwards_that_name_it() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator("us-east-1", assumed()).await;
    let sts = Api::sts(&assumed());
    let keys = format!("remote = {}\nrole_arn = \"{ARN}\"", echo.address().port());
    let mut command = ssm_proxyd();
    command
        .env("AWS_ENDPOINT_URL_STS", sts.endpoint())
        .env("SSM_PROXYD_LOG", "trace");
    let text = forward("a", &keys) + &forward("b", &keys);
    let daemon = DaemonProcess::launch(command, &simulator.endpoint(), &text);

    for name in ["a", "b", "a"] {
        assert_echo(&mut connect(daemon.address_of(name)), b"hello");
    }

    let calls = sts.calls("AssumeRole");
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_names(
        &calls[0].body,
        &["role%2Ftunnel", "RoleSessionName=ssm-proxyd"],
    );
    until("all sessions are ended", || simulator.open_sessions() == 0).await;
    let log = daemon.stop(&simulator);
    for secret in ["not-a-secret-role", "of-the-role", "SecretAccessKey"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_role_is_reported_with_the_missing_permission() {
    let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                   <Message>User me may not assume it</Message></Error></ErrorResponse>";
    let sts = Api::answering(403, refusal.to_owned());
    let mut command = ssm_proxyd();
    command.env("AWS_ENDPOINT_URL_STS", sts.endpoint());
    let text = forward("f", &format!("remote = 1\nrole_arn = \"{ARN}\""));
    let mut daemon = DaemonProcess::launch(command, "http://127.0.0.1:9", &text);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    let text = [
        "AssumeRole",
        ARN,
        "AccessDenied",
        "User me may not",
        "sts:AssumeRole",
    ];
    assert_names(&line, &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_ended_with_the_role_that_started_them() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator("us-east-1", assumed()).await;
    let sts = Api::sts(&assumed());
    let state = tempfile::tempdir().unwrap();
    let start = |keys: &str| {
        let mut command = ssm_proxyd();
        command
            .env("STATE_DIRECTORY", state.path())
            .env("AWS_ENDPOINT_URL_STS", sts.endpoint());
        let remote = format!("remote = {}\n{keys}", echo.address().port());
        DaemonProcess::launch(command, &simulator.endpoint(), &forward("f", &remote))
    };
    let mut killed = start(&format!("role_arn = \"{ARN}\""));
    let mut client = connect(killed.address());
    assert_echo(&mut client, b"hello");
    killed.process.signal("KILL");
    killed.process.wait();
    assert_eq!(simulator.open_sessions(), 1);

    let next = start("");

    until("the session is ended by the role", || {
        simulator.open_sessions() == 0
    })
    .await;
    assert_eq!(simulator.ledger().sessions[0].ended_by, Some(EndedBy::Api));
    next.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_role_affects_its_own_forward_only() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator("us-east-1", assumed()).await;
    let sts = Api::sts(&assumed());
    let remote = format!("remote = {}\n", echo.address().port());
    let text = |role: &str| {
        let head = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n",
            simulator.endpoint()
        );
        let same = forward("same", &format!("{remote}role_arn = \"{ARN}\""));
        head + &same + &forward("changed", &format!("{remote}role_arn = \"{ARN}{role}\""))
    };
    let file = File::new(&text(""));
    let mut command = ssm_proxyd();
    command.env("AWS_ENDPOINT_URL_STS", sts.endpoint());
    command.args(["run", "--config"]).arg(file.path());
    let mut daemon = Process::start(&mut command);
    let mut addresses = BTreeMap::new();
    for _ in 0..2 {
        addresses.extend([listening(&daemon.stderr.wait_for("listening"))]);
    }
    let (same, changed) = (addresses["same"], addresses["changed"]);
    let mut client = connect(same);
    assert_echo(&mut client, b"hello");

    std::fs::write(file.path(), text("er")).unwrap();
    daemon.signal("HUP");
    let output = daemon.stderr.wait_for("reloaded");

    assert_names(&output, &["+0 −0 ~1 =1"]);
    assert_echo(&mut connect(changed), b"as another");
    assert_echo(&mut client, b"still here");
    assert_echo(&mut connect(same), b"as before");
    let calls = sts.calls("AssumeRole");
    assert_eq!(
        calls.len(),
        2,
        "the first role is not assumed again: {calls:?}"
    );
    drop(client);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}

#[test]
fn a_forward_without_a_region_is_reported_with_its_line() {
    let good = forward("good", "remote = 1\nregion = \"eu-west-1\"");
    let text = good + &forward("lost", "remote = 2\nprofile = \"empty\"");
    let file = File::new(&text);
    let mut command = without_credentials("empty");
    command.env_remove("AWS_REGION");
    command.args(["run", "--strict", "--config"]);

    let (code, _, err) = ended(command.arg(file.path()));

    assert_eq!(code, 78, "{err}");
    assert_names(
        &err,
        &[
            "forward \"lost\"",
            "no region",
            "line 9",
            "hint",
            "in the forward",
        ],
    );
}

#[test]
fn a_profile_of_a_forward_without_credentials_does_not_fall_back_to_the_environment() {
    let text = forward("f", "remote = 1\nprofile = \"empty\"");
    let command = without_credentials("empty");
    let mut daemon = DaemonProcess::launch(command, "http://127.0.0.1:9", &text);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert_names(&line, &[r#"\"empty\" has none"#, "hint="]);
}

/// The binary with a profile that has no credentials.
fn without_credentials(profile: &str) -> Command {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("profile-{profile}"));
    std::fs::write(&file, format!("[profile {profile}]\noutput = json\n")).unwrap();
    let mut command = ssm_proxyd();
    command.env("AWS_CONFIG_FILE", file);
    command
}

/// An AWS configuration file with a profile for each simulator.
struct Files(tempfile::NamedTempFile);

impl Files {
    fn new(profiles: &[(&str, &Simulator)]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = profiles
            .iter()
            .map(|(name, simulator)| {
                let keys = &simulator.options().credentials;
                format!(
                    "[profile {name}]\naws_access_key_id = {}\naws_secret_access_key = {}\n\
                     endpoint_url = {}\n",
                    keys.access_key_id,
                    keys.secret_access_key,
                    simulator.endpoint()
                )
            })
            .collect();
        std::fs::write(file.path(), text).unwrap();
        Self(file)
    }

    fn caller(&self) -> Command {
        let mut command = ssm_proxyd();
        command.env("AWS_CONFIG_FILE", self.0.path());
        command
    }
}

async fn simulator(region: &str, credentials: Credentials) -> Simulator {
    let options = Options {
        region: region.to_owned(),
        credentials,
        require_signature: true,
        ..Options::default()
    };
    Simulator::start(options).await.unwrap()
}

fn credentials(name: &str) -> Credentials {
    Credentials {
        access_key_id: format!("AKID{name}"),
        secret_access_key: format!("not-a-secret-{name}"),
        session_token: None,
    }
}

/// The credentials of the role.
fn assumed() -> Credentials {
    Credentials {
        session_token: Some("of-the-role".to_owned()),
        ..credentials("role")
    }
}
