//! `exec`: the address in arguments and environment, signals, and the end of the command.

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use super::{Fixture, forward_in_file};
use crate::cli::ended;
use crate::support::daemon_process::{assert_clean, assert_names};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::Process;

/// Sends hello to an echo, and prints the response.
const CLIENT: &str = "import socket, sys\n\
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)\n\
    s.sendall(b'hello'); print(s.recv(5).decode())\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_command_gets_the_forward_in_its_arguments_and_environment() {
    let (simulator, port) = simulator_with_echo().await;
    let fixture = Fixture::new();
    fixture.configure(&forward_in_file("echo", port));
    let local = format!("0:localhost:{port}");
    for head in [&["exec", "echo"][..], &["exec", TARGET, "-L", &local]] {
        for client in [
            &["--", "python3", "-c", CLIENT, "{host}", "{port}"][..],
            &[
                "--",
                "sh",
                "-c",
                "exec python3 -c \"$0\" $SSM_PROXYD_HOST $SSM_PROXYD_PORT",
                CLIENT,
            ],
        ] {
            let arguments = [head, client].concat();

            let (code, out, output) = ended(&mut fixture.command(&simulator, &arguments));

            assert_eq!(
                (code, out.as_str()),
                (0, "hello\n"),
                "{arguments:?}: {output}"
            );
            assert_eq!(output, "");
        }
    }
    assert_eq!(simulator.ledger().started, 4);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_returns_the_exit_code_of_the_command() {
    let (simulator, port) = simulator_with_echo().await;
    let fixture = Fixture::new();
    fixture.configure(&forward_in_file("echo", port));
    for (command, code, text) in [
        (&["true"][..], 0, ""),
        (&["sh", "-c", "exit 3"], 3, ""),
        (&["sh", "-c", "kill -KILL $$"], 137, ""),
        (&["/nowhere/psql"], 127, "cannot run /nowhere/psql"),
        (&["/"], 126, "cannot run /"),
    ] {
        let arguments = [&["exec", "echo", "--"], command].concat();

        let (found, _, output) = ended(&mut fixture.command(&simulator, &arguments));

        assert_eq!(found, code, "{command:?}: {output}");
        assert!(output.contains(text), "{output}");
    }
    assert_eq!(simulator.ledger().started, 0, "no client has connected");
}

/// The daemon with the same file uses the other tables of the file.
#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_the_daemon_are_not_used() {
    let (simulator, port) = simulator_with_echo().await;
    let fixture = Fixture::new();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = fixture.home.path().join("admin.sock");
    let _admin = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let tables = format!(
        "[http]\nlisten = \"{}\"\n[admin]\nsocket = {socket:?}\n",
        held.local_addr().unwrap()
    );
    fixture.configure(&(tables + &forward_in_file("echo", port)));

    let arguments = ["exec", "echo", "--", "sh", "-c", "exit 3"];
    let (code, _, output) = ended(&mut fixture.command(&simulator, &arguments));

    assert_eq!(code, 3, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_passed_on_and_the_command_decides() {
    let (simulator, port) = simulator_with_echo().await;
    let fixture = Fixture::new();
    fixture.configure(&forward_in_file("echo", port));
    for signal in ["TERM", "INT", "HUP", "USR1", "USR2"] {
        // It prints when it listens; a shell runs a trap only after the command that it waits for.
        let script = format!("trap 'exit 9' {signal}; echo ready; while :; do sleep 0.1; done");
        let arguments = ["exec", "echo", "--", "sh", "-c", &script];
        let mut exec = Process::start(&mut fixture.command(&simulator, &arguments));
        exec.stdout.wait_for("ready");

        exec.signal(signal);

        assert_eq!(exec.exit_code(), 9, "{signal}");
    }
    let unresponsive = "trap '' TERM INT HUP; echo ready; read line; exit 4";
    let mut command = fixture.command(
        &simulator,
        &["exec", "echo", "--", "sh", "-c", unresponsive],
    );
    command.stdin(std::process::Stdio::piped());
    let mut exec = Process::start(&mut command);
    exec.stdout.wait_for("ready");
    for signal in ["TERM", "INT", "TERM", "HUP"] {
        exec.signal(signal);
    }
    exec.close_stdin();
    assert_eq!(exec.exit_code(), 4, "exec must wait for the command");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_command_that_was_killed_is_ended() {
    let (simulator, port) = simulator_with_echo().await;
    let fixture = Fixture::new();
    fixture.configure(&forward_in_file("echo", port));
    let hang = format!("{CLIENT}sys.stdout.flush(); s.recv(1)\n");
    let arguments = [
        "exec", "echo", "--", "python3", "-c", &hang, "{host}", "{port}",
    ];
    let mut exec = Process::start(&mut fixture.command(&simulator, &arguments));
    exec.stdout.wait_for("hello");
    until("the session is open", || {
        simulator.ledger().open_sessions() == 1
    })
    .await;

    exec.signal("TERM");

    assert_eq!(exec.exit_code(), 128 + 15);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_requests_are_reported_with_an_exit_code() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let bare = Fixture::new();
    let (code, _, output) = ended(&mut bare.command(&simulator, &["exec", "db", "--", "true"]));
    assert_eq!(code, 78, "{output}");
    assert_names(&output, &["no configuration found"]);

    let fixture = Fixture::new();
    fixture.configure(
        &(forward_in_file("orders", 1)
            + &forward_in_file("cache", 2).replace("listen = 1", "listen = 2")),
    );
    for (arguments, text) in [
        (
            &["exec", "db", "--", "true"][..],
            &["no forward \"db\"", "orders, cache", "-L"][..],
        ),
        (&["exec", "orders"], &["COMMAND"]),
        (
            &["exec", "i-orders", "-L", "0:db:1", "--", "true"],
            &["\"i-orders\" is not a target"],
        ),
    ] {
        let (code, _, output) = ended(&mut fixture.command(&simulator, arguments));
        assert_eq!(code, 2, "{output}");
        assert_names(&output, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_destination_a_name_is_the_target_of_a_forward_or_the_tag_name() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let tag = ("Name".to_owned(), "bastion".to_owned());
    let simulator = Simulator::start(Options {
        nodes: [("i-00000001".to_owned(), [tag].into())].into(),
        ..Options::default()
    });
    let simulator = simulator.await.unwrap();
    let fixture = Fixture::new();
    fixture.configure(&forward_in_file("orders", 1));
    let local = format!("0:localhost:{port}");
    for name in ["orders", "bastion", "tag:Name=bastion"] {
        let client = ["python3", "-c", CLIENT, "{host}", "{port}"];
        let arguments = [&["exec", name, "-L", &local, "--"][..], &client].concat();

        let (code, out, output) = ended(&mut fixture.command(&simulator, &arguments));

        assert_eq!((code, out.as_str()), (0, "hello\n"), "{name}: {output}");
    }
    let sessions = simulator.ledger().sessions;
    let targets: Vec<_> = sessions.iter().map(|s| s.target.as_str()).collect();
    assert_eq!(targets, [TARGET, "i-00000001", "i-00000001"]);
    assert_clean(&simulator);
}

async fn simulator_with_echo() -> (Simulator, u16) {
    let echo = Box::leak(Box::new(destination(ServerKind::Echo).await));
    let simulator = Simulator::start(Options::default()).await.unwrap();
    (simulator, echo.address().port())
}
