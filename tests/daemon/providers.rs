//! Credential processes of the user, and invalid credentials.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, File, assert_echo, assert_reset, connect, forward_to,
};
use crate::support::in_process::{destination, until};
use crate::support::process::{Process, ssm_proxyd};

const VALID: &str = r#"echo '{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b","Expiration":"2100-01-01T00:00:00Z"}'"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_process_runs_once() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let command = caller(
        directory.path(),
        &format!("echo x >> calls\nsleep 1\n{VALID}"),
    );
    let daemon = DaemonProcess::launch(command, &simulator.endpoint(), &forward_to(echo.address()));

    let mut clients = [(); 3].map(|()| connect(daemon.address()));
    for client in &mut clients {
        assert_echo(client, b"hello");
    }

    drop(clients);
    daemon.stop(&simulator);
    let calls = std::fs::read_to_string(directory.path().join("calls")).unwrap();
    assert_eq!(calls, "x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_process_that_hangs_leaves_no_session_and_no_process() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    // The first credentials are valid, but for a few seconds only.
    let script = format!(
        "if test -e called; then sleep 1000 & echo $! $$ > new; mv new ids; wait; fi\n\
         touch called\nend=$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)\n\
         {}",
        VALID.replace("2100-01-01T00:00:00Z", "'$end'")
    );
    let command = caller(directory.path(), &script);
    let text = forward_to(echo.address()) + "connect_timeout = \"2s\"\n";
    let mut daemon = DaemonProcess::launch(command, &simulator.endpoint(), &text);
    assert_echo(&mut connect(daemon.address()), b"hello");
    let ids = directory.path().join("ids");
    for _ in 0..120 {
        if ids.exists() {
            break;
        }
        // A client that disconnects at once would need no credentials.
        let client = connect(daemon.address());
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(client);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    for _ in 0..3 {
        assert_reset(connect(daemon.address()));
    }
    let started = simulator.ledger().started;

    daemon.process.signal("TERM");
    let code = daemon.process.exit_code();
    let log = daemon.process.stderr.all();

    assert_eq!(code, 0, "{log}");
    // No session was started that could be left open, except those of the dropped clients.
    assert_eq!(simulator.ledger().started, started);
    let left = simulator.open_sessions();
    let logged = log.matches("session may still be active").count();
    // A session that ended by its flag on the data channel may be reported too; every other one is
    // reported.
    assert!(logged >= left, "{logged} of {left} reported: {log}");
    assert!(!log.contains("StartSession did not complete"), "{log}");
    for id in std::fs::read_to_string(ids).unwrap().split_whitespace() {
        until("the program is killed", || !is_running(id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_stopped_leaves_no_credential_process_behind() {
    let directory = tempfile::tempdir().unwrap();
    let script = "sleep 1000 & echo $! $$ > new; mv new ids; wait";
    let mut command = caller(directory.path(), script);
    command
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:9")
        .args(["connect", "i-0123456789abcdef0"]);
    let mut program = Process::start(&mut command);
    let ids = directory.path().join("ids");
    until("its program runs", || ids.exists()).await;

    program.signal("TERM");

    assert_eq!(program.exit_code(), 128 + 15);
    for id in std::fs::read_to_string(ids).unwrap().split_whitespace() {
        until("it is killed", || !is_running(id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_process_that_hangs_is_reported_as_the_cause_of_the_reset() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let command = caller(directory.path(), "sleep 1000");
    let text = forward_to(simulator.address()) + "connect_timeout = \"2s\"\n";
    let mut daemon = DaemonProcess::launch(command, &simulator.endpoint(), &text);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("connection reset");
    for text in [
        "the credential provider",
        r#"\"default\""#,
        "has run for 2 s",
    ] {
        assert!(line.contains(text), "{line}");
    }
    assert!(!line.contains("StartSession"), "{line}");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_process_that_hangs_is_named_after_a_wait_for_the_rate_limit_too() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let command = caller(directory.path(), "sleep 1000");
    // Four permits at once, and another one after each second.
    let text = forward_to(simulator.address())
        + "connect_timeout = \"6s\"\nsessions = \"per_connection\"\n"
        + "[limits]\nsession_start_rate = 1\n";
    let daemon = DaemonProcess::launch(command, &simulator.endpoint(), &text);

    let clients = [(); 6].map(|()| connect(daemon.address()));
    clients.into_iter().for_each(assert_reset);

    let log = daemon.stop(&simulator);
    let resets: Vec<_> = log
        .lines()
        .filter(|line| line.contains("connection reset"))
        .collect();
    assert!(
        resets
            .iter()
            .any(|line| line.contains("the credential provider")),
        "{log}"
    );
    assert!(
        !resets.iter().any(|line| line.contains("StartSession")),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_process_that_takes_long_is_reported_while_it_runs() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let script = format!("until test -e go; do sleep 0.1; done\n{VALID}");
    let command = caller(directory.path(), &script);
    let mut daemon =
        DaemonProcess::launch(command, &simulator.endpoint(), &forward_to(echo.address()));
    let mut client = connect(daemon.address());

    let line = daemon.process.stderr.wait_for("has been running for 5 s");
    std::fs::write(directory.path().join("go"), "").unwrap();

    assert!(line.contains("WARN") && line.contains("USR2"), "{line}");
    assert_echo(&mut client, b"hello");
    drop(client);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_feed_after_a_key_of_the_environment_is_accepted() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        require_signature: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let keys = simulator.options().credentials.clone();
    let daemon = DaemonProcess::with(&simulator, &forward_to(echo.address()), |command| {
        command
            .env("AWS_ACCESS_KEY_ID", format!("{}\n", keys.access_key_id))
            .env(
                "AWS_SECRET_ACCESS_KEY",
                format!(" {}\r\n", keys.secret_access_key),
            )
    });

    assert_echo(&mut connect(daemon.address()), b"hello");

    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_key_is_refused_with_the_name_of_its_variable() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for (variable, value) in [
        ("AWS_ACCESS_KEY_ID", "not\na-key"),
        ("AWS_SECRET_ACCESS_KEY", "not\u{7f}a-key"),
        ("AWS_SESSION_TOKEN", "not\u{e9}a-key"),
    ] {
        let text = forward_to(simulator.address());
        let mut daemon =
            DaemonProcess::with(&simulator, &text, |command| command.env(variable, value));

        assert_reset(connect(daemon.address()));

        let line = daemon.process.stderr.wait_for("WARN");
        assert!(line.contains(variable), "{line}");
        let log = daemon.stop(&simulator);
        assert!(!log.contains("a-key") && !log.contains("panicked"), "{log}");
    }
}

#[test]
fn no_value_of_the_environment_makes_the_program_panic() {
    // There is no response, and that is retried.
    let file = File::new("[defaults]\nconnect_timeout = \"2s\"\n");
    let odd = [
        "\n",
        "a\nb",
        "us-east-1\n",
        "é",
        "a b",
        "http://",
        "::",
        "%",
        "\u{1b}[2J",
    ];
    for variable in [
        "AWS_REGION",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL_SSM",
        "AWS_ENDPOINT_URL",
        "AWS_SDK_UA_APP_ID",
        "AWS_EXECUTION_ENV",
        "AWS_ACCOUNT_ID",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_MAX_ATTEMPTS",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ] {
        let programs = odd.map(|value| {
            let mut command = ssm_proxyd();
            command
                .env("AWS_REGION", "us-east-1")
                .env("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:9")
                .env("SSM_PROXYD_CONFIG", file.path())
                .env(variable, value)
                .args(["connect", "i-0123456789abcdef0"]);
            if variable.starts_with("AWS_CONTAINER") || variable.starts_with("AWS_EC2") {
                command
                    .env_remove("AWS_ACCESS_KEY_ID")
                    .env_remove("AWS_SECRET_ACCESS_KEY")
                    .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/")
                    .env(variable, value);
            }
            (value, Process::start(&mut command))
        });
        for (value, mut program) in programs {
            let err = program.stderr.all();
            assert!(!err.contains("panicked"), "{variable}={value:?}: {err}");
            assert_ne!(program.exit_code(), 0, "{variable}={value:?}: {err}");
        }
    }
}

/// The binary with a `credential_process` that runs this script in this directory.
fn caller(directory: &Path, script: &str) -> Command {
    let (config, path) = (directory.join("config"), directory.join("script"));
    let here = directory.display();
    std::fs::write(&path, format!("cd {here}\n{script}\n")).unwrap();
    let text = format!("[default]\ncredential_process = sh {}\n", path.display());
    std::fs::write(&config, text).unwrap();
    let mut command = ssm_proxyd();
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_CONFIG_FILE", config);
    command
}

/// True if a process exists and is not a zombie.
fn is_running(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
