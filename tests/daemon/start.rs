//! Errors that stop a daemon from starting: each is reported with its remedy, and no process is
//! left.

use std::io;
use std::net::{TcpListener, TcpStream};

use crate::support::daemon_process::{File, forward, free_address};
use crate::support::in_process::TARGET;
use crate::support::process::{Process, ssm_proxyd};

#[test]
fn an_invalid_file_is_reported_with_line_and_hint() {
    let good = format!("name = \"db\"\nlisten = 0\ntarget = \"{TARGET}\"\nremote = 1\n");
    let keys = |from: &str, to: &str| format!("[[forward]]\n{}", good.replace(from, to));
    let two = |listen: &str| {
        let first = keys("listen = 0", "listen = 5432");
        let second = keys("listen = 0", listen).replace("\"db\"", "\"db2\"");
        format!("{first}{second}")
    };
    for (case, text, line, expected, hint) in [
        (
            "unknown key",
            keys("remote", "reote = 2\nremote"),
            5,
            "unknown key `reote`",
            "`remote`",
        ),
        (
            "wrong type",
            keys("listen = 0", "listen = true"),
            3,
            "`listen`: expected a port",
            "listen = 5432",
        ),
        (
            "missing key",
            keys("remote = 1\n", ""),
            1,
            "`remote` is missing",
            "remote =",
        ),
        (
            "bad address",
            keys("listen = 0", "listen = \"300.0.0.1:1\""),
            3,
            "300.0.0.1",
            "127.0.0.1",
        ),
        (
            "one address twice",
            two("listen = \"127.0.0.1:5432\""),
            8,
            "already used by forward \"db\"",
            "another port",
        ),
        (
            "bad target",
            keys(TARGET, "i-bastion"),
            4,
            "\"i-bastion\" is not a target",
            "tag:Name=i-bastion",
        ),
        (
            "bad document",
            keys("remote = 1", "remote = 1\ndocument = \"my doc\""),
            6,
            "\"my doc\" is not a valid document name",
            "AWS-StartPortForwardingSession",
        ),
        (
            "open to all",
            keys("listen = 0", "listen = \"0.0.0.0:0\""),
            3,
            "other machines could connect",
            "allow_remote_clients",
        ),
        (
            "no TOML",
            "[[forward]\n".to_owned(),
            1,
            "unclosed array table",
            "[[forward]]",
        ),
        ("empty", String::new(), 1, "no forward", "[[forward]]"),
    ] {
        let file = File::new(&text);

        let (code, stderr) = run(&file);

        let place = format!("--> {}:{line}:", file.path().display());
        assert_eq!(code, 78, "{case}: {stderr}");
        assert!(stderr.starts_with("error: "), "{case}: {stderr}");
        for needed in [&place, expected] {
            assert!(
                stderr.contains(needed),
                "{case}: {needed:?} is not in\n{stderr}"
            );
        }
        let (_, hints) = stderr.split_once("\n hint: ").expect(case);
        assert!(hints.contains(hint), "{case}: {hint:?} is not in\n{stderr}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let file = File::new("[aws]\nregon = \"x\"\n[[forward]]\nname = \"a b\"\nlisten = 70000\n");

    let (code, stderr) = run(&file);

    assert_eq!(code, 78);
    assert_eq!(stderr.matches("error: ").count(), 4, "{stderr}");
}

#[test]
fn an_unreadable_file_is_reported_with_its_path() {
    let file = File::new("\u{ff}");
    let missing = file.directory().join("none.toml");
    let binary = file.directory().join("binary.toml");
    std::fs::write(&binary, b"x\n\xff").unwrap();
    for (path, expected) in [
        (&missing, "No such file"),
        (&file.directory().to_owned(), "it is a directory"),
        (&binary, "line 2 is not UTF-8"),
    ] {
        let (code, stderr) = ended(Process::start(
            ssm_proxyd().args(["run", "--config"]).arg(path),
        ));

        assert_eq!(code, 78, "{stderr}");
        assert!(stderr.contains(&path.display().to_string()), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert!(stderr.contains("\n hint: "), "{stderr}");
    }
}

#[test]
fn a_missing_file_is_reported_with_the_searched_paths() {
    let home = tempfile::tempdir().unwrap();
    let mut command = ssm_proxyd();
    command
        .env("HOME", home.path())
        .env_remove("XDG_CONFIG_HOME")
        .arg("run");

    let (code, stderr) = ended(Process::start(&mut command));

    let own = home.path().join(".config/ssm-proxyd/config.toml");
    assert_eq!(code, 78, "{stderr}");
    for place in [
        "$SSM_PROXYD_CONFIG",
        &own.display().to_string(),
        "/etc/ssm-proxyd/config.toml",
        "`--config FILE`",
    ] {
        assert!(stderr.contains(place), "{place} is not in\n{stderr}");
    }
}

#[test]
fn a_missing_region_is_reported_with_the_remedy() {
    let file = File::new(&forward("f", "remote = 1"));

    let (code, stderr) = run(&file);

    assert_eq!(code, 78, "{stderr}");
    let (error, hint) = stderr
        .split_once("\n hint: ")
        .expect("the hint must be on its own line");
    assert!(error.starts_with("error: no region"), "{stderr}");
    assert!(hint.contains("`region` in [aws]"), "{stderr}");
    assert!(hint.contains("AWS_REGION"), "{stderr}");
}

#[test]
fn an_invalid_certificate_bundle_is_reported_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let pem = |text| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    for (bundle, reason) in [
        (directory.path().join("none.pem"), "no such file"),
        (directory.path().to_owned(), "is a directory"),
        (path("words.pem", "hello"), "contains no certificate"),
        (path("torn.pem", &pem("!!")), "not a PEM file"),
        (path("wrong.pem", &pem("AAAA")), "invalid certificate"),
    ] {
        let bundle = bundle.display().to_string();
        let aws = format!("[aws]\nregion = \"us-east-1\"\nca_bundle = {bundle:?}\n");
        let file = File::new(&format!("{aws}{}", forward("f", "remote = 1")));

        let (code, stderr) = run(&file);

        assert_eq!(code, 78, "{stderr}");
        for needed in [&bundle, reason, "hint: ", "`ca_bundle` in [aws]"] {
            assert!(stderr.contains(needed), "{needed:?} is not in\n{stderr}");
        }
    }
}

#[test]
fn a_strict_daemon_with_a_port_in_use_starts_nothing() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (held.local_addr().unwrap(), free_address());
    let on = |name: &str, address: &dyn ToString| {
        forward(name, "remote = 1").replace("127.0.0.1:0", &address.to_string())
    };
    let aws = "[aws]\nregion = \"us-east-1\"\n";
    let text = format!("{aws}{}{}", on("first", &free), on("second", &taken));
    let file = File::new(&text);
    let mut command = ssm_proxyd();
    command.args(["run", "--strict", "--config"]);

    let (code, stderr) = ended(Process::start(command.arg(file.path())));

    assert_eq!(code, 71, "{stderr}");
    let place = format!("{}, line 10", file.path().display());
    let address = taken.to_string();
    for needed in ["forward \"second\"", "already in use", &address, &place] {
        assert!(stderr.contains(needed), "{needed:?} is not in\n{stderr}");
    }
    assert!(stderr.contains("\n hint: another program"), "{stderr}");
    assert!(!stderr.contains("listening"), "{stderr}");
    let refused = TcpStream::connect(free).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_address_of_another_machine_is_reported() {
    let elsewhere = forward("f", "remote = 1\nallow_remote_clients = true")
        .replace("127.0.0.1:0", "192.0.2.7:4000");
    let file = File::new(&format!("[aws]\nregion = \"us-east-1\"\n{elsewhere}"));

    let (code, stderr) = run(&file);

    assert_eq!(code, 71, "{stderr}");
    assert!(
        stderr.contains("cannot listen on 192.0.2.7:4000"),
        "{stderr}"
    );
    assert!(stderr.contains("\n hint: "), "{stderr}");
}

/// Runs a daemon that must end by itself; returns its exit code and its output.
fn run(file: &File) -> (i32, String) {
    let mut command = ssm_proxyd();
    ended(Process::start(
        command.arg("run").arg("--config").arg(file.path()),
    ))
}

fn ended(mut process: Process) -> (i32, String) {
    let code = process.exit_code();
    assert_eq!(process.stdout.all(), "", "stdout is for results");
    (code, process.stderr.all())
}
