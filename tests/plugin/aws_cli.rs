//! The real AWS CLI, which finds this program as its plugin.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use ssm_proxyd::sim::{Options, ServerKind};

use super::stdio::assert_stdio_echo;
use super::{Fixture, opened};
use crate::support::daemon_process::{assert_echo, connect};
use crate::support::in_process::{TARGET, destination, resolving};
use crate::support::process::Process;
use crate::support::sshd::{Sshd, run};

impl Fixture {
    /// `aws ssm start-session` to the target; `None` if there is no AWS CLI.
    fn start_session(&self, document: &str, parameters: &str) -> Option<Command> {
        let mut command = self.program(&aws_cli()?);
        command
            .env("PATH", path_with(&self.links()))
            .args(["--region", "us-east-1", "--endpoint-url"])
            .arg(self.simulator.endpoint())
            .args(["ssm", "start-session", "--target", TARGET])
            .args(["--document-name", document, "--parameters", parameters]);
        Some(command)
    }
}

/// Returns the AWS CLI: that of `tests/run`, or one in the PATH.
fn aws_cli() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/aws-cli/bin/aws");
    let works = |program: &PathBuf| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|version| version.status.success())
    };
    let found = [ours, PathBuf::from("aws")].into_iter().find(works);
    if found.is_none() {
        eprintln!("SKIPPED: the AWS CLI is not installed");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_cli_forwards_a_port() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let parameters = format!("portNumber={},localPortNumber=0", echo.address().port());
    let document = "AWS-StartPortForwardingSession";
    let Some(mut command) = fixture.start_session(document, &parameters) else {
        return;
    };
    let mut cli = Process::start(&mut command);
    let address = opened(&mut cli);

    let (mut first, mut second) = (connect(address), connect(address));
    assert_echo(&mut first, b"one");
    assert_echo(&mut second, b"two");

    interrupt_plugin(&cli);
    cli.stdout.wait_for("Exiting session with sessionId: ");
    assert_eq!(cli.exit_code(), 0);
    assert_eq!(fixture.simulator.ledger().sessions.len(), 2);
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_cli_forwards_to_a_remote_host() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(resolving("echo.internal", echo.address())).await;
    let document = "AWS-StartPortForwardingSessionToRemoteHost";
    let Some(mut command) = fixture.start_session(document, "host=echo.internal,portNumber=7")
    else {
        return;
    };
    let mut cli = Process::start(&mut command);

    assert_echo(&mut connect(opened(&mut cli)), b"hello");

    interrupt_plugin(&cli);
    assert_eq!(cli.exit_code(), 0);
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_cli_connects_stdin_and_stdout() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let parameters = format!("portNumber={}", echo.address().port());
    let Some(mut command) = fixture.start_session("AWS-StartSSHSession", &parameters) else {
        return;
    };

    assert_stdio_echo(&mut command);
    fixture.assert_clean();
}

/// ssh, `aws ssm start-session` as its ProxyCommand, this program as its plugin, a real sshd.
#[tokio::test(flavor = "multi_thread")]
async fn ssh_logs_in_through_the_aws_cli() {
    let Some(aws) = aws_cli() else {
        return;
    };
    let sshd = Sshd::start(Options::default()).await;
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("session-manager-plugin");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ssm-proxyd"), link).unwrap();
    let proxy = format!(
        "ProxyCommand={} --region us-east-1 --endpoint-url {} ssm start-session --target %h \
         --document-name AWS-StartSSHSession --parameters portNumber=%p",
        aws.display(),
        sshd.simulator.endpoint()
    );
    let mut ssh = sshd.client("ssh", &["-o", &proxy, "far", "echo hello"]);

    let out = run(ssh
        .env("PATH", path_with(links.path()))
        .env("HOME", links.path()));

    assert_eq!(out, "hello\n");
    sshd.settle().await;
    let sessions = sshd.simulator.ledger().sessions;
    assert_eq!(sessions[0].document, "AWS-StartSSHSession");
}

/// The PATH with a directory before it.
pub(super) fn path_with(first: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path);
    std::env::join_paths(std::iter::once(first.to_owned()).chain(places)).unwrap()
}

/// Sends SIGINT to the child of the AWS CLI, which ignores it itself: a terminal sends it to both.
fn interrupt_plugin(cli: &Process) {
    let script = format!(
        "for child in $(cat /proc/{0}/task/{0}/children); do kill -INT $child; done",
        cli.id()
    );
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success());
}
