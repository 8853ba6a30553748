//! The command line of `relay`.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::process::{Process, ssm_proxyd};

fn fails(arguments: &[&str], code: i32) -> String {
    let mut command = ssm_proxyd();
    let mut process = Process::start(command.arg("relay").args(arguments));
    assert_eq!(process.exit_code(), code, "{arguments:?}");
    process.stderr.all()
}

#[test]
fn an_address_that_other_machines_reach_is_rejected() {
    let error = fails(&["--allow", "db:1", "--listen", "0.0.0.0:7400"], 2);

    assert!(
        error.contains("0.0.0.0:7400 is not a loopback address"),
        "{error}"
    );
    assert!(error.contains("hint: "), "{error}");
}

#[test]
fn rules_are_required_and_checked() {
    let error = fails(&[], 2);
    assert!(error.contains("--allow"), "{error}");

    let error = fails(&["--allow", "db"], 2);
    assert!(error.contains("is not a host and a port"), "{error}");
    assert!(error.contains("hint: for example"), "{error}");

    let error = fails(&["--allow", "unix:run/db.sock"], 2);
    assert!(error.contains("not the path of a Unix socket"), "{error}");
}

#[test]
fn a_port_in_use_is_reported() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();

    let error = fails(&["--allow", "db:1", "--listen", &address], 71);

    assert!(
        error.contains(&format!("cannot listen on {address}")),
        "{error}"
    );
}

#[test]
fn the_service_manager_is_notified_of_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let message = || {
        let mut buffer = [0; 1024];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let mut command = ssm_proxyd();
    command.args(["relay", "--listen=127.0.0.1:0", "--allow", "db:1"]);
    let mut process = Process::start(command.env("NOTIFY_SOCKET", &path));

    let ready = message();
    process.signal("USR1");
    process.signal("TERM");

    assert!(ready.contains("READY=1"), "{ready}");
    assert!(
        ready.contains("STATUS=daemons: 0, connections: 0"),
        "{ready}"
    );
    // A relay without connections may end before its notification of that is sent.
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn the_id_of_a_bundle_is_not_logged() {
    use std::io::{Read, Write};
    let mut command = ssm_proxyd();
    command.args(["-vv", "relay", "--listen=127.0.0.1:0", "--allow", "db:1"]);
    let mut process = Process::start(&mut command);
    let ready = process.stderr.wait_for("relay ready");
    let address = ready.split("address=").nth(1).unwrap().trim().to_owned();
    let id = *b"THESECRETBUNDLE!";
    let hello = [&b"SSMRELAY\x01\x01\x00\x20\0\0\0\0"[..], &id, &[0; 12]].concat();

    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(&hello).unwrap();
    stream.read_exact(&mut [0; 24]).unwrap();
    drop(stream);
    process.signal("TERM");

    assert_eq!(process.exit_code(), 0);
    let log = process.stderr.all();
    assert!(log.contains("a daemon has connected"), "{log}");
    for form in ["THESECRET", "54484553", "84, 72, 69"] {
        assert!(!log.contains(form), "{log}");
    }
}
