//! `status`, `reload`, `stop`, `wait`, `log`: their output and their exit codes.

use std::io::Write;

use serde_json::json;
use ssm_proxyd::sim::{ApiFault, Operation};

use super::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{
    assert_clean, assert_echo, assert_names, assert_reset, connect, free_address,
};
use crate::support::in_process::{TARGET, until};
use crate::support::process::{Process, ssm_proxyd};

#[test]
fn wait_ends_in_time_while_its_configuration_is_a_pipe_without_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("config.toml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut command = ssm_proxyd();
    let command = command.args(["wait", "--timeout", "50ms", "--config"]);

    let mut wait = Process::start(command.arg(&pipe));

    assert_eq!(wait.exit_code(), 75, "{}", wait.stderr.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_state_and_the_failure_of_each_forward() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");

    let status = fixture.status();
    let forward = &status["forwards"][0];
    assert_eq!(forward["name"], "f");
    assert_eq!(forward["state"], "ready");
    assert_eq!(forward["listen"], json!([fixture.address.to_string()]));
    assert_eq!(forward["connections"], 1);
    assert_eq!(forward["accepted"], 1);
    assert_eq!(forward["sessions"], 1);
    assert_eq!(
        (&status["connections"], &status["stopping"]),
        (&json!(1), &json!(false))
    );

    fixture.refuse_next("AccessDeniedException");
    assert_reset(connect(fixture.address));
    let status = fixture.status();
    let failure = &status["forwards"][0]["failure"];
    assert_eq!(status["forwards"][0]["state"], "failing");
    assert_eq!(failure["code"], "AccessDenied");
    let (code, output, _) = fixture.run(&["status"]);
    assert_eq!(code, 0);
    assert_names(
        &output,
        &["f  ", "failing", "AccessDeniedException", "hint: "],
    );

    fixture.daemon().signal("USR2");
    until("connections are served again", || {
        let mut again = connect(fixture.address);
        again.write_all(b"x").is_ok() && again.peek(&mut [0]).is_ok()
    })
    .await;
    assert_eq!(fixture.status()["forwards"][0]["state"], "ready");
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_is_a_failure_until_it_accepts() {
    let mut fixture = Fixture::new("").await;
    fixture.write(&fixture.forward(&format!("remote = {}", free_address().port())));
    fixture.start();

    assert_reset(connect(fixture.address));
    until("the failure is reported", || {
        fixture.status()["forwards"][0]["failure"]["code"] == "DestinationRefused"
    })
    .await;

    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_prints_its_result() {
    let mut fixture = Fixture::new("").await;
    fixture.start();

    fixture.write(&fixture.forward("remote = 5432"));
    assert_eq!(fixture.run(&["reload"]).1, "reloaded: +0 −0 ~1 =0\n");

    fixture.write(&fixture.forward("remote = 99999"));
    let (code, _, output) = fixture.run(&["reload"]);
    assert_eq!(code, 78, "{output}");
    assert_names(
        &output,
        &["error: forward \"f\"", "99999", "config.toml:", " hint: "],
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let other = fixture
        .forward("remote = 5432")
        .replace(&fixture.address.to_string(), &listen.to_string());
    fixture.write(&other);
    let (code, _, output) = fixture.run(&["reload"]);
    assert_eq!(code, 71, "{output}");
    assert_names(&output, &["already in use", "hint: "]);

    let status = fixture.status();
    assert_eq!(
        (&status["reloads"], &status["failed_reloads"]),
        (&json!(1), &json!(2))
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_everything_but_the_admin_socket() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let text = std::fs::read_to_string(fixture.file()).unwrap();

    let moved = text.replace("admin.sock", "other.sock");
    std::fs::write(fixture.file(), moved).unwrap();
    let socket = fixture.socket().display().to_string();
    let (code, _, output) = fixture.run(&["reload", "--socket", &socket]);

    assert_eq!(code, 78, "{output}");
    assert_names(&output, &["[admin]: `socket` cannot change", "restart"]);
    std::fs::write(
        fixture.file(),
        format!("{text}[log]\nformat = \"json\"\nlevel = \"debug\"\n"),
    )
    .unwrap();
    let (code, _, output) = fixture.run(&["reload"]);
    assert_eq!(code, 0, "{output}");
    let line = fixture.daemon().stderr.wait_for("\"reloaded: ");
    assert!(
        line.starts_with('{'),
        "the log must be JSON after the change: {line}"
    );
    assert_echo(&mut connect(fixture.address), b"hello");
    fixture.daemon().stderr.wait_for("DEBUG");
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_waits_for_open_connections_and_reports_it() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");

    let mut stop = Process::start(&mut fixture.command(&["stop"]));
    until("the daemon stops", || fixture.status()["stopping"] == true).await;
    assert_eq!(fixture.status()["forwards"][0]["state"], "stopping");
    let (code, _, output) = fixture.run(&["reload"]);
    assert_eq!(
        (code, output.contains("the daemon is stopping")),
        (69, true),
        "{output}"
    );
    assert_echo(&mut client, b"still here");
    drop(client);

    assert_eq!(stop.exit_code(), 0);
    assert_eq!(stop.stdout.all(), "stopped; all sessions are terminated\n");
    assert_eq!(fixture.daemon().exit_code(), 0);
    assert!(!fixture.socket().exists(), "the socket is removed");
    assert_clean(&fixture.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_now_waits_for_no_connection() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    let mut waits = Process::start(&mut fixture.command(&["stop"]));
    until("the daemon stops", || fixture.status()["stopping"] == true).await;

    let (code, output, _) = fixture.run(&["stop", "--now"]);

    assert_eq!(
        (code, output.as_str()),
        (0, "stopped; all sessions are terminated\n")
    );
    assert_eq!(waits.exit_code(), 0);
    assert_reset(client);
    assert_eq!(fixture.daemon().exit_code(), 0);
    assert_clean(&fixture.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_waits_for_the_daemon_and_for_forwards() {
    let mut fixture = Fixture::new("warm = 1").await;
    fixture.simulator.set_offline(TARGET, true);
    let mut early = Process::start(&mut fixture.command(&["wait"]));
    fixture.start();
    assert_eq!(early.exit_code(), 0, "the daemon listens");

    let (code, _, output) = fixture.run(&["wait", "f", "--timeout", "300ms"]);
    assert_eq!(code, 75, "{output}");
    assert_names(&output, &["not ready within 300ms", "f: "]);
    let (code, _, output) = fixture.run(&["wait", "g"]);
    assert_eq!(code, 2, "{output}");
    assert_names(&output, &["no forward \"g\"", "f"]);

    let mut waiting =
        Process::start(&mut fixture.command(&["wait", "f", "--timeout", "99999999999999999999h"]));
    fixture.simulator.set_offline(TARGET, false);
    fixture.daemon().signal("USR2");
    assert_eq!(waiting.exit_code(), 0);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_can_be_raised_for_a_limited_time() {
    let mut fixture = Fixture::new("").await;
    fixture.start();

    let (code, output, _) = fixture.run(&["log", "debug"]);
    assert_eq!(code, 0);
    assert!(output.contains("ssm_proxyd=debug"), "{output}");
    assert_echo(&mut connect(fixture.address), b"hello");
    fixture.daemon().stderr.wait_for("DEBUG");
    assert_eq!(fixture.run(&["log"]).1, output);
    assert_eq!(fixture.run(&["log", "ssm_proxyd::tunnel=trace"]).0, 0);
    let (code, _, output) = fixture.run(&["log", "loud"]);
    assert_eq!(code, 2, "{output}");
    assert_names(&output, &["\"loud\"", "hint: "]);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_is_a_timeout() {
    let mut fixture = Fixture::new("").await;
    fixture.start();

    let pid = fixture.daemon().id().to_string();
    for command in [&["status"][..], &["reload"], &["stop", "--now"]] {
        fixture.daemon().signal("STOP");
        let (code, _, output) = fixture.run(command);
        fixture.daemon().signal("CONT");

        assert_eq!(code, 69, "{command:?}: {output}");
        assert_names(&output, &["does not respond", &pid, "kill -CONT"]);
    }

    // It has received the last command.
    assert_eq!(fixture.daemon().exit_code(), 0);
    assert_clean(&fixture.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_use_the_admin_socket_of_the_given_configuration_only() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let home = fixture.directory.path().join("ssm-proxyd");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::symlink(fixture.socket(), home.join("admin.sock")).unwrap();
    let request = |file: &std::path::Path| {
        let mut command = ssm_proxyd();
        command.env("XDG_RUNTIME_DIR", fixture.directory.path());
        ended(command.args(["status", "--config"]).arg(file))
    };
    let file = fixture.directory.path().join("other.toml");

    let (code, _, output) = request(&file);
    assert_eq!(code, 78, "a missing file: {output}");
    for text in [
        "[admin]\nsocket = 3\n",
        "[[[\n[admin]\nsocket = \"/run/x\"\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, _, output) = request(&file);
        assert_eq!(code, 78, "{text}: {output}");
    }
    for text in [
        "",
        "remote = 99999\n",
        "[admin]\n#socket = \"/run/x\"\n[[[\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, _, output) = request(&file);
        assert_eq!(code, 0, "no socket in the file: {text}: {output}");
    }
    fixture.ends();
}

#[test]
fn each_command_reports_that_no_daemon_runs() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock").display().to_string();
    for command in ["status", "reload", "stop", "log"] {
        let (code, out, output) = ended(ssm_proxyd().args([command, "--socket", &socket]));

        assert_eq!((code, out.as_str()), (69, ""), "{output}");
        assert_names(
            &output,
            &["error: no daemon is listening at", &socket, "hint: "],
        );
    }
    let (code, _, output) =
        ended(ssm_proxyd().args(["wait", "--timeout", "0s", "--socket", &socket]));
    assert_eq!(code, 75, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_leaves_a_session_is_not_a_success() {
    let mut fixture = Fixture::new("").await;
    let fault = ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: None,
    };
    fixture.simulator.fail(Operation::TerminateSession, fault);
    fixture.start();
    assert_echo(&mut connect(fixture.address), b"hello");

    let (code, _, output) = fixture.run(&["stop"]);

    assert_eq!(code, 1, "{output}");
    assert_names(&output, &["stopped", "may still be active", "hint: "]);
    assert_eq!(
        fixture.daemon().exit_code(),
        0,
        "the daemon was asked to stop"
    );
}
