//! Canaries: every secret is searched for in all output of the daemon.

use ssm_proxyd::sim::{ApiFault, Credentials, Operation, Options, ServerKind, Simulator};

use super::http::get;
use crate::cli::ended;
use crate::support::daemon_process::{
    DaemonProcess, assert_clean, assert_echo, assert_reset, caller, connect, forward_to,
    free_address,
};
use crate::support::fake_api::Api;
use crate::support::in_process::destination;
use crate::support::process::ssm_proxyd;

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_payload_is_ever_logged() {
    for filter in ["", "trace", "info,aws_smithy_runtime=trace,hyper=trace"] {
        let log = everything_sent(filter).await;

        assert!(filter.starts_with("info") || log.contains("TRACE"), "{log}");
        if !filter.starts_with("info") {
            for logged in [
                "input_stream_data seq=",
                "acknowledge of seq=",
                "SYN stream=3",
            ] {
                assert!(log.contains(logged), "-vv logs every message: {log}");
            }
        }
    }
}

/// All output about a connection that works, one that is refused, the responses of the admin socket
/// and of HTTP, and a shutdown.
async fn everything_sent(filter: &str) -> String {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        credentials: Credentials {
            access_key_id: "AKIDCANARY".to_owned(),
            secret_access_key: "canary/of/the/secret/key".to_owned(),
            session_token: Some("canary-of-the-session-token".to_owned()),
        },
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let api = Api::before(simulator.address(), 0);
    let mut command = caller(&simulator);
    match filter {
        "" => command.arg("-vv"),
        filter => command.env("SSM_PROXYD_LOG", filter),
    };
    let runtime = tempfile::tempdir().unwrap();
    command.env("XDG_RUNTIME_DIR", runtime.path());
    let http = free_address();
    let tables = format!(
        "[http]\nlisten = \"{http}\"\n{}",
        forward_to(echo.address())
    );
    let mut daemon = DaemonProcess::launch(command, &api.endpoint(), &tables);

    assert_echo(&mut connect(daemon.address()), b"canary of the payload");
    let fault = ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: Some(1),
    };
    simulator.fail(Operation::StartSession, fault);
    assert_reset(connect(daemon.address()));
    let mut logged: String = [
        "/startup",
        "/readiness",
        "/liveness",
        "/metrics",
        "/status",
        "/",
    ]
    .iter()
    .map(|path| format!("{:?}\n", get(http, path)))
    .collect();
    assert!(logged.contains("failing: f AccessDenied"), "{logged}");
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["reload"],
        &["log", "trace"],
        &["stop"],
    ] {
        let mut command = ssm_proxyd();
        command
            .args(arguments)
            .env("XDG_RUNTIME_DIR", runtime.path());
        let (code, out, err) = ended(&mut command);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        logged += &(out + &err);
    }
    assert!(logged.contains("AccessDenied"), "{logged}");
    assert_eq!(daemon.process.exit_code(), 0);
    let log = logged + &daemon.process.stdout.all() + &daemon.process.stderr.all();

    assert_clean(&simulator);
    let token = token(api.calls("StartSession")[0].answer.as_ref().unwrap());
    for secret in [
        &token,
        "canary/of/the/secret/key",
        "canary-of-the-session-token",
        "canary of the payload",
        "Signature=",
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "with {filter:?} it logs {secret}");
    }
    log
}

/// The token in a response of StartSession.
fn token(body: &str) -> String {
    let (_, rest) = body.split_once("\"TokenValue\":\"").unwrap();
    let (token, _) = rest.split_once('"').unwrap();
    assert!(
        token.len() > 20,
        "the token is too short to be found: {token}"
    );
    token.to_owned()
}
