//! The command line of `relay`.

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
