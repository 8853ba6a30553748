//! The simulator as a program: the effects of its options on the sessions of a client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use serde_json::Value;
use ssm_proxyd::sim::{MANUAL, ServerKind};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_reset, connect, forward_to,
};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::{Process, behind, ssm_proxyd};
use crate::support::simulator_process::SimulatorProcess;

#[tokio::test(flavor = "multi_thread")]
async fn websockets_break_as_planned_and_are_resumed() {
    let echo = destination(ServerKind::Echo).await;
    // On a slow machine some faults are due before there is a websocket.
    let plan: Vec<_> = (1..=60)
        .map(|n| format!("--inject={}ms=break:1000", 250 * n))
        .collect();
    let simulator = SimulatorProcess::start(&plan);
    let daemon = DaemonProcess::launch(
        ssm_proxyd(),
        &simulator.endpoint(),
        &forward_to(echo.address()),
    );
    let mut client = connect(daemon.address());

    until("websockets broke", || {
        assert_echo(&mut client, b"hello");
        simulator.ledger()["sessions"][0]["attached"].as_u64() > Some(2)
    })
    .await;

    assert_echo(&mut client, b"still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_dies_as_planned_and_its_client_is_reset() {
    let echo = destination(ServerKind::Echo).await;
    let plan = ["--inject", "500ms=kill-agent", "--crash-delay", "0ms"];
    let simulator = SimulatorProcess::start(&plan);
    let mut daemon = DaemonProcess::launch(
        ssm_proxyd(),
        &simulator.endpoint(),
        &forward_to(echo.address()),
    );

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert!(line.contains("document process failed"), "{line}");
    let ledger = simulator.ledger();
    assert_eq!(ledger["sessions"][0]["ended_by"], "agent_failure");
}

#[test]
fn the_addresses_are_printed_for_programs_and_for_users() {
    let simulator = SimulatorProcess::start(&[] as &[&str]);
    let endpoint = simulator.endpoint();

    assert_eq!(simulator.described["endpoint"], endpoint);
    for (page, path) in [("manual", ""), ("ledger", "ledger"), ("faults", "faults")] {
        let url = format!("{endpoint}/simulator/{path}");
        assert_eq!(simulator.described[page], url);
        assert!(!simulator.page(&format!("/simulator/{path}")).is_empty());
    }
    let hint = hint(simulator);
    for needed in [
        &format!("export AWS_ENDPOINT_URL_SSM={endpoint}"),
        "--map db.internal:5432=",
        &format!("curl {endpoint}/simulator/ledger"),
        &format!("curl {endpoint}/simulator/\n"),
    ] {
        assert!(hint.contains(needed), "no {needed:?} in\n{hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_it_while_its_certificate_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("authority.pem");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut full = std::fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(&pipe)
        .unwrap();
    while full.write(&[0; 4096]).is_ok() {}
    let mut command = ssm_proxyd();
    let command = command.args(["simulate", "--tls", "--certificate"]);
    let mut process = Process::start(command.arg(&pipe));
    let descriptors = format!("/proc/{}/fd", process.id());
    until("it has opened the pipe", || {
        let open = std::fs::read_dir(&descriptors).unwrap();
        open.flatten()
            .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == pipe))
    })
    .await;

    process.signal("INT");

    assert_eq!(process.exit_code(), 0, "{}", process.stderr.all());
}

#[test]
fn with_tls_the_hint_names_the_certificate_to_trust() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authority.pem").display().to_string();
    let simulator = SimulatorProcess::start(&["--tls", "--certificate", &file]);

    assert_eq!(simulator.described["environment"]["AWS_CA_BUNDLE"], file);
    assert_eq!(
        simulator.described["certificate"],
        std::fs::read_to_string(&file).unwrap()
    );
    let hint = hint(simulator);

    assert!(
        hint.contains(&format!("export AWS_CA_BUNDLE={file}")),
        "{hint}"
    );
    assert!(
        hint.contains(&format!("curl --cacert {file} https://")),
        "{hint}"
    );
}

#[test]
fn the_help_lists_the_faults() {
    let help = |option| {
        let mut process = Process::start(ssm_proxyd().args(["simulate", option]));
        assert_eq!(process.exit_code(), 0);
        process.stdout.all()
    };

    assert!(help("--help").contains(MANUAL.trim_end()));
    assert!(help("-h").lines().count() < 100);
}

#[test]
fn a_closed_terminal_ends_the_simulator_unless_under_nohup() {
    let mut with_default_hup =
        SimulatorProcess::of(&mut behind("env", &["--default-signal=HUP"]), &[]);
    let under_nohup = SimulatorProcess::of(&mut behind("nohup", &[]), &[]);

    with_default_hup.process.signal("HUP");
    under_nohup.process.signal("HUP");

    assert_eq!(with_default_hup.process.exit_code(), 0);
    for _ in 0..100 {
        assert_eq!(under_nohup.ledger()["started"], 0);
    }
    under_nohup.stop();
}

#[test]
fn a_closed_stdout_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = ssm_proxyd();
    command.arg("simulate").stdout(writer.try_clone().unwrap());

    let status = command.stderr(writer).status().unwrap();

    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_address_in_use_is_reported() {
    let simulator = SimulatorProcess::start(&[] as &[&str]);
    let address = simulator.address.to_string();

    let (code, stderr) = refused(&["--listen", &address]);

    assert_eq!(code, 71, "{stderr}");
    let port = simulator.address.port();
    for needed in [
        &format!("cannot listen on {address}: address already in use\n"),
        "choose another --listen",
        &format!("sport = :{port}"),
    ] {
        assert!(stderr.contains(needed), "no {needed:?} in\n{stderr}");
    }
}

#[test]
fn a_certificate_that_cannot_be_written_is_reported() {
    let (code, stderr) = refused(&["--tls", "--certificate", "/nope/x"]);

    assert_eq!(code, 1, "{stderr}");
    let expected = "error: cannot write the certificate to /nope/x: no such file or directory\n";
    assert!(stderr.starts_with(expected), "{stderr}");
    assert!(
        stderr.contains(" hint: set --certificate to a file"),
        "{stderr}"
    );
}

#[test]
fn contradictory_options_are_bad_usage_with_a_hint() {
    for (bad, data) in [
        (
            &["--agent-version", "zz"][..],
            "expected four numbers, for example 3.3.987.0",
        ),
        (&["--agent-version", "3.3.987"], "expected four numbers"),
        (
            &["--document", "Own-Forward=Nope"],
            "AWS-StartPortForwardingSession,",
        ),
        (&["--document", "Nope"], "expected NAME=AWS-DOCUMENT"),
        (
            &["--document", "Own-Ssh=AWS-StartSSHSession,port"],
            "expected PARAMETER=VALUE",
        ),
        (
            &["--document", "Own-Ssh=AWS-StartSSHSession,host=db.internal"],
            "takes no parameter host",
        ),
        (
            &["--document", "a b=AWS-StartSSHSession"],
            "invalid document name \"a b\"",
        ),
        (&["--map", "db.internal"], "expected HOST[:PORT]=ADDRESS"),
        (
            &["--map", "db.internal=5432"],
            "expected an address and a port",
        ),
        (
            &["--map", "db.internal=10.0.0.1:1"],
            "not a loopback address",
        ),
        (&["--listen", "10.0.0.1:0"], "loopback addresses only"),
        (&["--listen", "4566"], "for example 127.0.0.1:4566"),
        (&["--ecs-service", "prod"], "expected CLUSTER/SERVICE"),
        (&["--ecs-service", "prod/web,tasks=x"], "expected tasks=N"),
        (&["--offline", "bastion"], "expected a target"),
        (
            &["--gateway-buffer", "much"],
            "a number of bytes, or unlimited",
        ),
        (&["--certificate", "x"], "--tls"),
        (&["--faults", "{\"stal\": true}"], "unknown field `stal`"),
        (
            &["--faults", "{\"to_agent\": {\"loss\": 2000}}"],
            "expected 0 to 1000",
        ),
    ] {
        let (code, stderr) = refused(bad);

        assert_eq!(code, 2, "{bad:?}: {stderr}");
        assert!(
            stderr.contains(data),
            "{bad:?}: {data:?} is not in\n{stderr}"
        );
        assert!(stderr.contains("--help"), "{bad:?}: {stderr}");
    }
}

#[test]
fn a_fault_without_an_option_of_its_own_is_bad_usage_with_its_json() {
    for (option, json) in [
        ("--drop-every", "break_every"),
        ("--message", "messages"),
        ("--idle-timeout", "idle_timeout"),
        ("--refuse-upgrades", "refuse_upgrades"),
        ("--stall", "stall"),
    ] {
        let (code, output) = refused(&[option]);

        assert_eq!(code, 2, "{output}");
        for needed in [option, &format!("--faults '{{\"{json}\":"), "--help"] {
            assert!(output.contains(needed), "{needed:?} is not in\n{output}");
        }
    }
}

#[test]
fn an_invalid_fault_is_bad_usage_and_the_valid_ones_are_listed() {
    for (bad, data) in [
        (
            "kill-agent",
            "expected AFTER=FAULT, for example 5s=kill-agent",
        ),
        (
            "5s=kil-agent",
            "\"kil-agent\" is not a fault; expected break:MANNER",
        ),
        ("5s=break", "for example break:1000"),
        ("5=kill-agent", "not a duration; write \"5s\""),
    ] {
        let (code, stderr) = refused(&["--inject", bad]);

        assert_eq!(code, 2, "{stderr}");
        for needed in ["--inject <AFTER=FAULT>", bad, data] {
            assert!(stderr.contains(needed), "{bad}: no {needed:?} in\n{stderr}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_service_are_served_and_replaced() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = SimulatorProcess::start(&["--ecs-service", "prod/web/app,tasks=2"]);
    let forward = forward_to(echo.address()).replace(TARGET, "ecs:prod/web");
    let daemon = DaemonProcess::launch(ssm_proxyd(), &simulator.endpoint(), &forward);
    assert_echo(&mut connect(daemon.address()), b"hello");

    let body = r#"{"service": "prod/web", "replace": true}"#;
    let (status, services) = post(&simulator, "/simulator/ecs", body);
    assert_echo(&mut connect(daemon.address()), b"hello");

    assert_eq!(status, 200);
    let running = |task: &&Value| task["last_status"] == "RUNNING";
    let tasks = services["services"][0]["tasks"].as_array().unwrap();
    assert_eq!((tasks.len(), tasks.iter().filter(running).count()), (4, 2));
    let sessions = &simulator.ledger()["sessions"];
    let target = |n: usize| sessions[n]["target"].as_str().unwrap();
    for (session, task) in [(0, 1), (1, 3)] {
        let id = tasks[task]["id"].as_str().unwrap();
        let expected = format!("ecs:prod_{id}_");
        assert!(
            target(session).starts_with(&expected),
            "{}",
            target(session)
        );
    }
    let (status, error) = post(&simulator, "/simulator/ecs", r#"{"service": "prod/x"}"#);
    assert_eq!(status, 400, "{error}");
    assert!(simulator.page("/simulator/ecs").contains("\"web\""));
}

/// Posts JSON to a page; returns the status and the answer.
fn post(simulator: &SimulatorProcess, path: &str, body: &str) -> (u16, Value) {
    let mut http = TcpStream::connect(simulator.address).unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    http.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// The exit code and the output of a simulator that does not start.
fn refused(options: &[&str]) -> (i32, String) {
    let mut process = Process::start(ssm_proxyd().arg("simulate").args(options));
    (process.exit_code(), process.stderr.all())
}

/// Stops the simulator, and returns its hint. It follows the line on stdout, so it is awaited.
fn hint(mut simulator: SimulatorProcess) -> String {
    simulator
        .process
        .stderr
        .wait_for("fault injection, manual:");
    simulator.stop()
}
