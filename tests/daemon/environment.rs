//! Environment variables that have an effect, and those that have none.

use std::io::Write as _;
use std::process::Command;

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::cli::ended;
use crate::support::daemon_process::{
    DaemonProcess, File, assert_echo, assert_names, assert_reset, caller, connect, forward,
    forward_to, free_address,
};
use crate::support::fake_api::Api;
use crate::support::in_process::destination;
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_not_used_for_loopback() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::with(&simulator, &forward_to(echo.address()), |command| {
        with_dead_proxy(command)
    });

    assert_echo(&mut connect(daemon.address()), b"hello");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_general_endpoint_variable_does_not_override_the_file() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::with(&simulator, &forward_to(echo.address()), |command| {
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", free_address()))
            .env("AWS_USE_FIPS_ENDPOINT", "true")
            .env("AWS_USE_DUALSTACK_ENDPOINT", "true")
    });

    assert_echo(&mut connect(daemon.address()), b"hello");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ssm_endpoint_variable_overrides_the_file_and_is_reported() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        region: "eu-north-1".to_owned(),
        require_signature: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let mut command = caller(&simulator);
    command
        .env("AWS_ENDPOINT_URL_SSM", simulator.endpoint())
        .env("AWS_REGION", "eu-north-1");
    let elsewhere = format!("http://{}", free_address());
    let daemon = DaemonProcess::launch(command, &elsewhere, &forward_to(echo.address()));

    assert_echo(&mut connect(daemon.address()), b"hello");
    let log = daemon.stop(&simulator);
    for variable in ["AWS_ENDPOINT_URL_SSM", "AWS_REGION"] {
        assert!(log.contains(variable), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_environment_are_trusted() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let mut bundle = tempfile::NamedTempFile::new().unwrap();
    bundle
        .write_all(simulator.certificate_pem().unwrap().as_bytes())
        .unwrap();
    let daemon = DaemonProcess::with(&simulator, &forward_to(echo.address()), |command| {
        command.env("AWS_CA_BUNDLE", bundle.path())
    });

    assert_echo(&mut connect(daemon.address()), b"hello");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_certificates_can_call_a_custom_endpoint() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let forwards = forward_to(echo.address());
    let daemon = DaemonProcess::with(&simulator, &forwards, without_certificates);

    assert_echo(&mut connect(daemon.address()), b"hello");
    let log = daemon.stop(&simulator);
    assert!(!log.contains("certificate"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_certificates_trusts_the_bundle_only() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), simulator.certificate_pem().unwrap()).unwrap();
    let daemon = DaemonProcess::with(&simulator, &forward_to(echo.address()), |command| {
        without_certificates(command).env("AWS_CA_BUNDLE", bundle.path())
    });

    assert_echo(&mut connect(daemon.address()), b"hello");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_certificates_reports_that_aws_cannot_be_called() {
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let forwards = forward("f", "remote = 1");
    let mut daemon = DaemonProcess::with(&simulator, &forwards, without_certificates);

    assert_reset(connect(daemon.address()));

    daemon.process.stderr.wait_for("UnknownIssuer");
    let log = daemon.stop(&simulator);
    let line = log.lines().find(|line| line.contains("no CA certificates"));
    assert_names(
        line.unwrap(),
        &["WARN", "hint=", "ca-certificates", "ca_bundle"],
    );
}

/// Like a small Debian or a container.
fn without_certificates(command: &mut Command) -> &mut Command {
    command
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/dev/null")
}

/// Nothing is sent to it: the address is reserved for documentation, and the call is not made.
#[tokio::test(flavor = "multi_thread")]
async fn no_unencrypted_call_leaves_the_machine_wherever_the_endpoint_is_set() {
    let profile = tempfile::NamedTempFile::new().unwrap();
    let text = "[default]\nendpoint_url = http://192.0.2.1:9\n";
    std::fs::write(profile.path(), text).unwrap();
    let variables = [
        ("AWS_ENDPOINT_URL", "http://192.0.2.1:9"),
        ("AWS_CONFIG_FILE", profile.path().to_str().unwrap()),
    ];
    for (variable, value) in variables {
        let mut command = ssm_proxyd();
        command.env(variable, value);
        let mut daemon = DaemonProcess::without_endpoint(command, &forward("f", "remote = 1"));

        assert_reset(connect(daemon.address()));
        let line = daemon.process.stderr.wait_for("WARN");

        for word in ["http://192.0.2.1:9", "without TLS", "hint="] {
            assert!(line.contains(word), "{variable}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unexpected_http_server_is_reported_with_its_status_and_text() {
    for (status, body, text) in [
        (403, "", "HTTP 403"),
        (307, "", "HTTP 307"),
        (502, "<html>Bad Gateway</html>", "HTTP 502"),
        (407, "Proxy Authentication Required", "Proxy Authentication"),
    ] {
        let api = Api::answering(status, body.to_owned());
        let mut daemon =
            DaemonProcess::launch(ssm_proxyd(), &api.endpoint(), &forward("f", "remote = 1"));

        assert_reset(connect(daemon.address()));
        let line = daemon.process.stderr.wait_for("WARN");

        for word in ["StartSession", text, "hint="] {
            assert!(line.contains(word), "{status}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_without_credentials_is_reported() {
    let profile = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(profile.path(), "[profile empty]\nlost\n").unwrap();
    let mut command = ssm_proxyd();
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_CONFIG_FILE", profile.path())
        .env("AWS_PROFILE", "empty");
    let endpoint = format!("http://{}", free_address());
    let mut daemon = DaemonProcess::launch(command, &endpoint, &forward("f", "remote = 1"));

    assert_reset(connect(daemon.address()));
    let line = daemon.process.stderr.wait_for("hint=");

    assert_names(&line, &["WARN", r#"\"empty\""#, ":2: neither a section"]);
}

#[test]
fn the_demo_ignores_endpoints_of_the_environment() {
    let mut command = ssm_proxyd();
    with_dead_proxy(&mut command)
        .arg("demo")
        .env("AWS_ENDPOINT_URL", format!("http://{}", free_address()))
        .env("AWS_ENDPOINT_URL_SSM", format!("http://{}", free_address()))
        .env("AWS_REGION", "eu-north-1")
        .env("AWS_PROFILE", "misspelt");

    let mut demo = Process::start(&mut command);

    let code = demo.exit_code();
    assert_eq!(code, 0, "{}{}", demo.stdout.all(), demo.stderr.all());
}

fn with_dead_proxy(command: &mut Command) -> &mut Command {
    let proxy = format!("http://{}", free_address());
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, &proxy);
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_overrides_the_log_filter_of_the_environment() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();

    let daemon = DaemonProcess::with(&simulator, &forward_to(echo.address()), |command| {
        command.arg("-v").env("SSM_PROXYD_LOG", "off")
    });

    assert_echo(&mut connect(daemon.address()), b"hello");
    daemon.stop(&simulator);
}

#[test]
fn the_environment_is_checked_like_the_file() {
    let file = File::new(&forward("f", "remote = 1"));
    for (name, value, text) in [
        ("AWS_REGION", "eu-west-1a", "availability zone"),
        ("AWS_REGION", "\"eu-west-1\"", "not a region"),
        ("AWS_DEFAULT_REGION", "eu-west-1\nx", "not a region"),
        ("AWS_PROFILE", "[prod]", "is not a valid profile name"),
        ("AWS_DEFAULT_PROFILE", "a\tb", "is not a valid profile name"),
        (
            "AWS_ENDPOINT_URL_SSM",
            "https://me:s3cret@a.example.com",
            "a password",
        ),
        ("AWS_ENDPOINT_URL_SSM", "http://192.0.2.1:9", "without TLS"),
    ] {
        for command in ["run", "check"] {
            let mut program = ssm_proxyd();
            program.env(name, value).args([command, "--config"]);

            let (code, _, err) = ended(program.arg(file.path()));

            assert_eq!(code, 77, "{command} {name}: {err}");
            assert_names(&err, &[name, text]);
            assert!(!err.contains("s3cret"), "{err}");
        }
    }
}

#[test]
fn white_space_around_an_environment_value_is_ignored() {
    let file = File::new(&forward("f", "remote = 1"));
    let mut command = ssm_proxyd();
    command
        .env("AWS_REGION", " eu-west-1\n")
        .args(["check", "--config"]);

    let (code, out, err) = ended(command.arg(file.path()));

    assert_eq!(code, 0, "{err}");
    assert_names(&out, &["eu-west-1"]);
}
