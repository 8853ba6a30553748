//! What a record contains, and how it is logged.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::Value;
use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use super::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{
    DaemonProcess, File, assert_echo, assert_names, assert_reset, caller, connect, forward_to,
    free_address,
};
use crate::support::in_process::{TARGET, destination, unpaced};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_the_peer_the_session_and_the_stages() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let mut fixture = Fixture::new(unpaced(), &format!("remote = {port}")).await;
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    let peer = client.local_addr().unwrap().to_string();
    drop(client);

    let record = fixture.record();

    assert_eq!(record["level"], "INFO");
    assert_eq!(record["spans"][0]["forward"], "f");
    assert_eq!(record["peer"], peer);
    assert_eq!(
        (&record["node"], &record["resolved_node"]),
        (&TARGET.into(), &TARGET.into())
    );
    assert_eq!(record["destination"], format!("localhost:{port}"));
    let session = &fixture.simulator.ledger().sessions[0].session_id;
    assert_eq!(record["session"], *session);
    assert_eq!(
        (&record["sent"], &record["received"]),
        (&5.into(), &5.into())
    );
    assert_eq!(
        (&record["resumes"], &record["longest_stall_seconds"]),
        (&0.into(), &0.0.into())
    );
    let stages = [
        "queued",
        "credentials",
        "start_session",
        "websocket",
        "handshake",
        "ready",
        "first_byte",
    ];
    let seconds = |name: &str| {
        let value = &record[format!("{name}_seconds")];
        value
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {record:#}"))
    };
    let sum: f64 = stages.iter().map(|name| seconds(name)).sum();
    assert!(
        sum > 0.0 && sum <= seconds("duration") + 0.001,
        "{record:#}"
    );
    for absent in ["class", "error", "hint", "omitted"] {
        assert!(record[absent].is_null(), "{record:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_session_costs_its_connection_no_time() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!("remote = {}\nwarm = 1\n", echo.address().port());
    let options = Options {
        api_delay: std::time::Duration::from_secs(2),
        ..unpaced()
    };
    let mut fixture = Fixture::new(options, &keys).await;
    fixture.daemon.stderr.wait_for("tunnel ready");
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    drop(client);

    let record = fixture.record();

    assert_eq!(record["start_session_seconds"], 0.0, "{record:#}");
    assert_eq!(record["ready_seconds"], 0.0, "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_a_limit_are_one_warning() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let keys = format!("remote = {port}\nmax_connections = 1\nconnect_timeout = \"1s\"\n");
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut first = connect(fixture.address);
    assert_echo(&mut first, b"hello");
    let beyond = [(); 3].map(|()| connect(fixture.address));

    let records = [(); 3].map(|()| fixture.record());

    for record in &records {
        assert_eq!(record["reason"], "limit_reached", "{record:#}");
    }
    let levels = records.map(|record| record["level"].clone());
    assert_eq!(levels, ["WARN", "DEBUG", "DEBUG"]);
    drop((first, beyond));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_destination_is_one_warning_until_it_answers() {
    let address = free_address();
    let keys = format!("remote = {}", address.port());
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let refused = |fixture: &mut Fixture| {
        assert_reset(connect(fixture.address));
        let record = fixture.record();
        assert_eq!(record["reason"], "destination_unreachable", "{record:#}");
        record
    };

    let levels = [(); 3].map(|()| refused(&mut fixture)["level"].clone());

    assert_eq!(levels, ["WARN", "DEBUG", "DEBUG"]);
    let listener = TcpListener::bind(address).unwrap();
    let client = connect(fixture.address);
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.write_all(b"hello").unwrap();
    drop((accepted, listener));
    let line = fixture
        .daemon
        .stderr
        .wait_for("the destination answers again");
    assert_names(&line, &["\"connections_reset\":3"]);
    drop(client);
    fixture.record();
    let record = refused(&mut fixture);
    assert_eq!(
        (&record["level"], &record["omitted"]),
        (&"WARN".into(), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_of_a_unix_socket_is_a_process_and_its_program() {
    let echo = destination(ServerKind::Echo).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let more = format!(
        "remote = {}\n[[forward]]\nname = \"unix\"\nlisten = \"unix:{}\"\ntarget = \"{TARGET}\"\nremote = {}\n",
        echo.address().port(),
        path.display(),
        echo.address().port()
    );
    let mut fixture = Fixture::new(unpaced(), &more).await;
    fixture.daemon.stderr.wait_for("\"ready: 2 forwards\"");
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    drop(client);

    let record = fixture.record();

    let command = std::fs::read_to_string("/proc/self/comm").unwrap();
    let peer = record["peer"].as_str().unwrap();
    assert_names(
        peer,
        &[
            &format!("pid {}", std::process::id()),
            &format!("({})", command.trim()),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_format_has_the_same_fields() {
    let echo = destination(ServerKind::Echo).await;
    let mut fixture = Fixture::new(unpaced(), &format!("remote = {}", echo.address().port())).await;
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    drop(client);
    let Value::Object(record) = fixture.record() else {
        panic!("an object");
    };
    let mut daemon = DaemonProcess::start(&fixture.simulator, &forward_to(echo.address()));
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"hello");
    drop(client);

    let line = daemon.process.stderr.wait_for("ended_by=");

    let own = ["timestamp", "level", "target", "spans", "message"];
    for name in record.keys().filter(|name| !own.contains(&name.as_str())) {
        assert_names(&line, &[&format!(" {name}=")]);
    }
    assert_names(
        &line,
        &["serving{forward=\"f\"}", "connection ended by the client"],
    );
}

/// A program chooses its own name.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_client_cannot_forge_fields_of_the_text_format() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let port = echo.address().port();
    let tables = format!(
        "[[forward]]\nname = \"f\"\nlisten = \"unix:{}\"\ntarget = \"{TARGET}\"\nremote = {port}\n",
        path.display()
    );
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n[log]\nlevel = \"debug\"\n\
         [shutdown]\ndrain_timeout = \"0s\"\n{tables}",
        simulator.endpoint()
    );
    let file = File::new(&text);
    let mut command = caller(&simulator);
    let mut daemon = Process::start(command.arg("run").arg("--config").arg(file.path()));
    daemon.stderr.wait_for("ready: 1 forward");
    let client = "import socket, sys\n\
        open('/proc/self/comm', 'w').write('a\" sent=9 b\\\\')\n\
        client = socket.socket(socket.AF_UNIX)\n\
        client.connect(sys.argv[1])\n\
        client.sendall(b'hello')\n\
        client.recv(5)\n";
    let mut python = Command::new("python3");
    let (code, _, output) = ended(python.args(["-c", client]).arg(&path));
    assert_eq!(code, 0, "{output}");

    let line = daemon.stderr.wait_for("ended_by=");

    assert_names(&line, &[r#"(a\" sent=9 b\\)" node="#, " sent=5 "]);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
}
