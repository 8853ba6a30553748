//! `-L` with a document that fixes the destination.

use ssm_proxyd::sim::{Destination, Options, ServerKind, Simulator};

use super::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{assert_clean, assert_echo, assert_names, connect};
use crate::support::documents::{DATABASE, HOST, with_documents};
use crate::support::in_process::{TARGET, destination};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn a_local_address_alone_forwards_to_the_destination_of_the_document() {
    let (simulator, _echo) = simulator().await;
    let fixture = Fixture::new();
    let document = ["--document", HOST, "--parameter", "portNumber=5432"];
    let arguments = [
        &["forward", TARGET, "-L", "127.0.0.1:0", "--json"][..],
        &document,
    ]
    .concat();
    let mut forward = Process::start(&mut fixture.command(&simulator, &arguments));
    let line = forward.stdout.wait_for("listen");

    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["remote"], "document Our-Host");
    let address = ready["listen"][0].as_str().unwrap().parse().unwrap();
    assert_echo(&mut connect(address), b"hello");

    forward.signal("INT");
    assert_eq!(forward.exit_code(), 0);
    let sessions = simulator.ledger().sessions;
    assert_eq!(sessions[0].document, HOST);
    assert_eq!(sessions[0].parameters.len(), 1);
    assert_eq!(sessions[0].parameters["portNumber"], ["5432"]);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_in_the_option_gives_the_document_host_and_port_as_parameters() {
    let (simulator, _echo) = simulator().await;
    let fixture = Fixture::new();
    let client = "import socket, sys\n\
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)\n\
        s.sendall(b'hello'); print(s.recv(5).decode())\n";
    for (local, parameters) in [("0:localhost:5432", &["portNumber"][..]), ("0", &[])] {
        let document = match parameters {
            [] => DATABASE,
            _ => HOST,
        };
        let head = ["exec", TARGET, "-L", local, "--document", document];
        let command = ["--", "python3", "-c", client, "{host}", "{port}"];
        let arguments = [&head[..], &command].concat();

        let (code, out, stderr) = ended(&mut fixture.command(&simulator, &arguments));

        assert_eq!((code, &*out), (0, "hello\n"), "{stderr}");
        let session = simulator.ledger().sessions.pop().unwrap();
        assert!(session.parameters.keys().eq(parameters), "{session:?}");
    }
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_options_are_bad_usage() {
    let (simulator, _echo) = simulator().await;
    let fixture = Fixture::new();
    let parameter = ["--parameter", "a=b"];
    let document = ["--document", "Ours"];
    for (arguments, texts) in [
        (
            [&["-L", "0"][..], &[]].concat(),
            ["-L 0 has no destination", "--document"],
        ),
        (
            [&["-L", "0:db:1"][..], &parameter].concat(),
            ["--document", "required"],
        ),
        (
            [&["-L", "0:db:1"][..], &document, &parameter].concat(),
            ["-L 0:db:1 has a destination", "[BIND:]PORT"],
        ),
        ([&document[..], &parameter].concat(), ["-L", "required"]),
    ] {
        for (command, end) in [("forward", &[][..]), ("exec", &["--", "true"])] {
            let all = [&[command, TARGET], &arguments[..], end].concat();

            let (code, out, stderr) = ended(&mut fixture.command(&simulator, &all));

            assert_eq!((code, &*out), (2, ""), "{all:?}: {stderr}");
            assert_names(&stderr, &texts);
        }
    }
    assert_eq!(simulator.ledger().started, 0);
}

/// A simulator with documents that lead to an echo as `db.internal:5432`.
async fn simulator() -> (Simulator, Destination) {
    let echo = destination(ServerKind::Echo).await;
    let options = with_documents(Options::default(), 5432, echo.address());
    (Simulator::start(options).await.unwrap(), echo)
}
