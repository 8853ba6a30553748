//! `status`, `reload`, `stop`, `wait`, `log`: what they say and how they end.

use std::io::Write;

use serde_json::json;
use ssm_proxyd::sim::{ApiFault, Operation};

use super::Scene;
use crate::cli::ended;
use crate::support::daemon_process::{
    assert_clean, assert_echo, assert_names, assert_reset, connect, free_address,
};
use crate::support::in_process::{TARGET, until};
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_each_forward_what_it_does_and_what_is_wrong() {
    let mut scene = Scene::new("").await;
    scene.start();
    let mut client = connect(scene.address);
    assert_echo(&mut client, b"hello");

    let status = scene.status();
    let forward = &status["forwards"][0];
    assert_eq!(forward["name"], "f");
    assert_eq!(forward["state"], "ready");
    assert_eq!(forward["listen"], json!([scene.address.to_string()]));
    assert_eq!(forward["connections"], 1);
    assert_eq!(forward["accepted"], 1);
    assert_eq!(forward["sessions"], 1);
    assert_eq!(
        (&status["connections"], &status["stopping"]),
        (&json!(1), &json!(false))
    );

    scene.refuse_next("AccessDeniedException");
    assert_reset(connect(scene.address));
    let status = scene.status();
    let trouble = &status["forwards"][0]["trouble"];
    assert_eq!(status["forwards"][0]["state"], "failing");
    assert_eq!(trouble["word"], "AccessDenied");
    let (code, told, _) = scene.run(&["status"]);
    assert_eq!(code, 0);
    assert_names(
        &told,
        &["f  ", "failing", "AccessDeniedException", "hint: "],
    );

    scene.daemon().signal("USR2");
    until("it is served again", || {
        let mut again = connect(scene.address);
        again.write_all(b"x").is_ok() && again.peek(&mut [0]).is_ok()
    })
    .await;
    assert_eq!(scene.status()["forwards"][0]["state"], "ready");
    drop(client);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_is_trouble_until_it_answers() {
    let mut scene = Scene::new("").await;
    scene.write(&scene.forward(&format!("remote = {}", free_address().port())));
    scene.start();

    assert_reset(connect(scene.address));
    until("it is told", || {
        scene.status()["forwards"][0]["trouble"]["word"] == "DestinationRefused"
    })
    .await;

    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_tells_what_came_of_it() {
    let mut scene = Scene::new("").await;
    scene.start();

    scene.write(&scene.forward("remote = 5432"));
    assert_eq!(scene.run(&["reload"]).1, "reloaded: +0 −0 ~1 =0\n");

    scene.write(&scene.forward("remote = 99999"));
    let (code, _, told) = scene.run(&["reload"]);
    assert_eq!(code, 78, "{told}");
    assert_names(
        &told,
        &["error: forward \"f\"", "99999", "config.toml:", " hint: "],
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let other = scene
        .forward("remote = 5432")
        .replace(&scene.address.to_string(), &listen.to_string());
    scene.write(&other);
    let (code, _, told) = scene.run(&["reload"]);
    assert_eq!(code, 71, "{told}");
    assert_names(&told, &["already in use", "hint: "]);

    let status = scene.status();
    assert_eq!(
        (&status["reloads"], &status["failed_reloads"]),
        (&json!(1), &json!(2))
    );
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_change_but_the_socket() {
    let mut scene = Scene::new("").await;
    scene.start();
    let text = std::fs::read_to_string(scene.file()).unwrap();

    let moved = text.replace("admin.sock", "other.sock");
    std::fs::write(scene.file(), moved).unwrap();
    let socket = scene.socket().display().to_string();
    let (code, _, told) = scene.run(&["reload", "--socket", &socket]);

    assert_eq!(code, 78, "{told}");
    assert_names(&told, &["[admin]: `socket` cannot change", "restart"]);
    std::fs::write(
        scene.file(),
        format!("{text}[log]\nformat = \"json\"\nlevel = \"debug\"\n"),
    )
    .unwrap();
    let (code, _, told) = scene.run(&["reload"]);
    assert_eq!(code, 0, "{told}");
    let line = scene.daemon().stderr.wait_for("\"reloaded: ");
    assert!(line.starts_with('{'), "it is JSON from then on: {line}");
    assert_echo(&mut connect(scene.address), b"hello");
    scene.daemon().stderr.wait_for("DEBUG");
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_waits_for_what_is_open_and_says_that_it_does() {
    let mut scene = Scene::new("").await;
    scene.start();
    let mut client = connect(scene.address);
    assert_echo(&mut client, b"hello");

    let mut stop = Process::start(&mut scene.command(&["stop"]));
    until("it stops", || scene.status()["stopping"] == true).await;
    assert_eq!(scene.status()["forwards"][0]["state"], "stopping");
    let (code, _, told) = scene.run(&["reload"]);
    assert_eq!(
        (code, told.contains("the daemon is stopping")),
        (69, true),
        "{told}"
    );
    assert_echo(&mut client, b"still here");
    drop(client);

    assert_eq!(stop.exit_code(), 0);
    assert_eq!(stop.stdout.all(), "stopped; all sessions are terminated\n");
    assert_eq!(scene.daemon().exit_code(), 0);
    assert!(!scene.socket().exists(), "the socket is removed");
    assert_clean(&scene.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_now_waits_for_no_connection() {
    let mut scene = Scene::new("").await;
    scene.start();
    let mut client = connect(scene.address);
    assert_echo(&mut client, b"hello");
    let mut waits = Process::start(&mut scene.command(&["stop"]));
    until("it stops", || scene.status()["stopping"] == true).await;

    let (code, told, _) = scene.run(&["stop", "--now"]);

    assert_eq!(
        (code, told.as_str()),
        (0, "stopped; all sessions are terminated\n")
    );
    assert_eq!(waits.exit_code(), 0);
    assert_reset(client);
    assert_eq!(scene.daemon().exit_code(), 0);
    assert_clean(&scene.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_waits_for_the_daemon_and_for_forwards() {
    let mut scene = Scene::new("warm = 1").await;
    scene.simulator.set_offline(TARGET, true);
    let mut early = Process::start(&mut scene.command(&["wait"]));
    scene.start();
    assert_eq!(early.exit_code(), 0, "it listens");

    let (code, _, told) = scene.run(&["wait", "f", "--timeout", "300ms"]);
    assert_eq!(code, 75, "{told}");
    assert_names(&told, &["not ready within 300ms", "f: "]);
    let (code, _, told) = scene.run(&["wait", "g"]);
    assert_eq!(code, 2, "{told}");
    assert_names(&told, &["no forward \"g\"", "f"]);

    let mut patient =
        Process::start(&mut scene.command(&["wait", "f", "--timeout", "99999999999999999999h"]));
    scene.simulator.set_offline(TARGET, false);
    scene.daemon().signal("USR2");
    assert_eq!(patient.exit_code(), 0);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_say_more_for_a_while() {
    let mut scene = Scene::new("").await;
    scene.start();

    let (code, told, _) = scene.run(&["log", "debug"]);
    assert_eq!(code, 0);
    assert!(told.contains("ssm_proxyd=debug"), "{told}");
    assert_echo(&mut connect(scene.address), b"hello");
    scene.daemon().stderr.wait_for("DEBUG");
    assert_eq!(scene.run(&["log"]).1, told);
    assert_eq!(scene.run(&["log", "ssm_proxyd::tunnel=trace"]).0, 0);
    let (code, _, told) = scene.run(&["log", "loud"]);
    assert_eq!(code, 2, "{told}");
    assert_names(&told, &["\"loud\"", "hint: "]);
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_is_not_waited_for_for_ever() {
    let mut scene = Scene::new("").await;
    scene.start();

    let pid = scene.daemon().id().to_string();
    for command in [&["status"][..], &["reload"], &["stop", "--now"]] {
        scene.daemon().signal("STOP");
        let (code, _, told) = scene.run(command);
        scene.daemon().signal("CONT");

        assert_eq!(code, 69, "{command:?}: {told}");
        assert_names(&told, &["does not respond", &pid, "kill -CONT"]);
    }

    // It has received the last command.
    assert_eq!(scene.daemon().exit_code(), 0);
    assert_clean(&scene.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_daemon_is_asked_than_the_one_that_is_meant() {
    let mut scene = Scene::new("").await;
    scene.start();
    let home = scene.directory.path().join("ssm-proxyd");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::symlink(scene.socket(), home.join("admin.sock")).unwrap();
    let ask = |file: &std::path::Path| {
        let mut command = ssm_proxyd();
        command.env("XDG_RUNTIME_DIR", scene.directory.path());
        ended(command.args(["status", "--config"]).arg(file))
    };
    let file = scene.directory.path().join("other.toml");

    let (code, _, told) = ask(&file);
    assert_eq!(code, 78, "a file that is not there: {told}");
    for text in [
        "[admin]\nsocket = 3\n",
        "[[[\n[admin]\nsocket = \"/run/x\"\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, _, told) = ask(&file);
        assert_eq!(code, 78, "{text}: {told}");
    }
    for text in [
        "",
        "remote = 99999\n",
        "[admin]\n#socket = \"/run/x\"\n[[[\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, _, told) = ask(&file);
        assert_eq!(code, 0, "it says nothing of the socket: {text}: {told}");
    }
    scene.ends();
}

#[test]
fn without_a_daemon_each_command_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock").display().to_string();
    for command in ["status", "reload", "stop", "log"] {
        let (code, out, told) = ended(ssm_proxyd().args([command, "--socket", &socket]));

        assert_eq!((code, out.as_str()), (69, ""), "{told}");
        assert_names(
            &told,
            &["error: no daemon is listening at", &socket, "hint: "],
        );
    }
    let (code, _, told) =
        ended(ssm_proxyd().args(["wait", "--timeout", "0s", "--socket", &socket]));
    assert_eq!(code, 75, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_leaves_a_session_is_no_success() {
    let mut scene = Scene::new("").await;
    let fault = ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: None,
    };
    scene.simulator.fail(Operation::TerminateSession, fault);
    scene.start();
    assert_echo(&mut connect(scene.address), b"hello");

    let (code, _, told) = scene.run(&["stop"]);

    assert_eq!(code, 1, "{told}");
    assert_names(&told, &["stopped", "may still be active", "hint: "]);
    assert_eq!(scene.daemon().exit_code(), 0, "it was asked to stop");
}
