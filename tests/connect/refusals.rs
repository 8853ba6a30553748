//! Messages of `connect` if there is no connection: one line with the remedy, and an exit code.

use ssm_proxyd::sim::{ApiFault, Operation, Options, Simulator};

use crate::support::connect_process::ConnectProcess;
use crate::support::daemon_process::assert_clean;
use crate::support::free_address::free_address;
use crate::support::in_process::{TARGET, unpaced};
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_has_its_exit_code_and_one_line() {
    for (api, code, text) in [
        ("TargetNotConnected", 69, "check that the target is running"),
        ("AccessDeniedException", 77, "ssm:StartSession"),
        ("ExpiredTokenException", 77, "aws sso login"),
        ("InvalidDocument", 78, "check `document`"),
        ("InternalServerError", 69, "try again"),
        ("ThrottlingException", 75, "StartSession"),
    ] {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let fault = ApiFault {
            code: api.to_owned(),
            times: None,
        };
        simulator.fail(Operation::StartSession, fault);
        let tables = "[defaults]\nconnect_timeout = \"2s\"\n";

        let (exit, stderr) = ConnectProcess::with(&simulator, tables, &[TARGET]).end();

        assert_eq!((exit, stderr.lines().count()), (code, 1), "{api}: {stderr}");
        assert!(stderr.contains(text), "{api}: {stderr}");
        assert!(
            stderr.starts_with(&format!("ssm-proxyd: {TARGET}: ")),
            "{stderr}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nothing_listens_is_reported() {
    let simulator = Simulator::start(unpaced()).await.unwrap();

    let (code, stderr) = ConnectProcess::start(&simulator, free_address().port()).end();

    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("check the port"), "{stderr}");
    assert!(stderr.contains("refused the connection"), "{stderr}");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_is_reported() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let remote = format!("localhost:{}", free_address().port());

    let (code, stderr) = ConnectProcess::with(&simulator, "", &[TARGET, "--remote", &remote]).end();

    assert_eq!((code, stderr.lines().count()), (69, 1), "{stderr}");
    assert!(
        stderr.contains("could not connect to the destination"),
        "{stderr}"
    );
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_another_type_or_a_missing_one_is_bad_configuration() {
    let simulator = Simulator::start(unpaced()).await.unwrap();

    let (code, stderr) =
        ConnectProcess::with(&simulator, "", &[TARGET, "--document", "Not-There"]).end();

    assert_eq!(code, 78, "{stderr}");
}

#[test]
fn bad_usage_exits_with_2_and_shows_the_valid_form() {
    for (arguments, text) in [
        (&["connect"][..], "TARGET"),
        (&["connect", "i-web"], "write \"tag:Name=i-web\""),
        (
            &["connect", "Name=web-1"],
            "did you mean \"tag:Name=web-1\"?",
        ),
        (&["connect", "i-01234567."], "no region follows the `.`"),
        (&["connect", ""], "\"\" is not a target"),
        (&["connect", TARGET, "0"], "0 is not in 1..=65535"),
        (&["connect", TARGET, "--remote", "db"], "db"),
        (
            &["connect", TARGET, "22", "--remote", "db:1"],
            "cannot be used with",
        ),
        (&["connect", TARGET, "--parameter", "a=b"], "--document"),
        (
            &[
                "connect",
                TARGET,
                "--document",
                "Ours",
                "--parameter",
                "a=b",
                "22",
            ],
            "cannot be used with",
        ),
        (
            &[
                "connect",
                TARGET,
                "--document",
                "Ours",
                "--parameter",
                "a=b",
                "--remote",
                "db:1",
            ],
            "cannot be used with",
        ),
        (
            &["connect", TARGET, "--document", "Ours", "--parameter", "a"],
            "NAME=VALUE",
        ),
        (
            &["connect", TARGET, "--document", "Ours", "--parameter", "=a"],
            "not a valid parameter name",
        ),
        (
            &["connect", TARGET, "--document", "Ours", "--parameter", "a="],
            "not a valid parameter value",
        ),
    ] {
        let mut process = Process::start(ssm_proxyd().args(arguments));

        let (code, stderr) = (process.exit_code(), process.stderr.all());

        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
        assert_eq!(process.stdout.all(), "");
    }
}

#[test]
fn an_invalid_file_and_a_missing_region_exit_with_78() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "[aws]\nregoin = \"eu-west-1\"\n").unwrap();
    let mut broken = ssm_proxyd();
    broken.env("SSM_PROXYD_CONFIG", &file);
    let mut without = ssm_proxyd();
    without
        .env("XDG_CONFIG_HOME", directory.path())
        .env("HOME", directory.path());
    for (mut command, text) in [(broken, "regoin"), (without, "no region")] {
        let mut process = Process::start(command.args(["connect", TARGET]));

        let (code, stderr) = (process.exit_code(), process.stderr.all());

        assert_eq!(code, 78, "{stderr}");
        assert!(stderr.contains(text), "{stderr}");
    }
}
