//! Notifications to the service manager, and the shipped units.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ssm_proxyd::sim::{ApiFault, Operation, Options, ServerKind, Simulator};
use tempfile::TempDir;

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_reset, connect, forward, forward_to,
};
use crate::support::in_process::destination;

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified_of_ready_status_and_stopping() {
    let (_directory, path, socket) = manager();
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::with(&simulator, &forward_to(echo.address()), |command| {
        command.env("NOTIFY_SOCKET", &path)
    });

    let ready = notification(&socket, "READY=1");
    assert!(ready.contains("STATUS=1 forward, 0 connections"), "{ready}");
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"hello");
    notification(&socket, "STATUS=1 forward, 1 connection");
    drop(client);
    notification(&socket, "STATUS=1 forward, 0 connections");
    let fault = ApiFault {
        code: "TargetNotConnected".to_owned(),
        times: Some(1),
    };
    simulator.fail(Operation::StartSession, fault);
    assert_reset(connect(daemon.address()));
    notification(
        &socket,
        "STATUS=1 forward, 0 connections, 1 failing: f TargetNotConnected",
    );
    daemon.stop(&simulator);

    let stopping = notification(&socket, "STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_pinged_while_the_accept_loops_answer() {
    let (_directory, path, socket) = manager();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let forwards = [forward("a", "remote = 1"), forward("b", "remote = 2")].concat();
    let daemon = DaemonProcess::with(&simulator, &forwards, |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "40000")
    });

    for _ in 0..5 {
        notification(&socket, "WATCHDOG=1");
    }
    daemon.process.signal("HUP");
    let reloading = notification(&socket, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    notification(&socket, "READY=1");
    notification(&socket, "WATCHDOG=1");
    daemon.stop(&simulator);
}

#[test]
fn a_daemon_that_cannot_start_is_never_ready() {
    let (_directory, path, socket) = manager();
    socket.set_nonblocking(true).unwrap();
    let mut command = crate::support::process::ssm_proxyd();
    command
        .args(["run", "--config", "/nowhere"])
        .env("NOTIFY_SOCKET", &path);

    let (code, _, _) = crate::cli::ended(&mut command);

    assert_eq!(code, 78);
    assert!(
        socket.recv(&mut [0; 1024]).is_err(),
        "a notification was sent"
    );
}

/// The units are checked by the systemd of the machine, if it is installed.
#[test]
fn the_shipped_units_are_valid_and_the_system_units_are_sandboxed() {
    let unit = "systemd/ssm-proxyd.service";
    let check = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).output();
    let sandboxed = [unit, "systemd/ssm-proxyd-relay.service"];
    for unit in sandboxed {
        let security = ["security", "--offline=true", "--threshold=15", unit];
        let Ok(checked) = check(&security) else {
            eprintln!("SKIPPED: systemd-analyze is not installed; {unit} is not checked");
            return;
        };
        let output = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{output}");
    }

    for unit in [
        unit,
        "systemd/ssm-proxyd-relay.service",
        "systemd/ssm-proxyd-user.service",
        "systemd/ssm-proxyd.socket",
    ] {
        let verified = check(&["verify", unit]).unwrap();
        let output = String::from_utf8_lossy(&verified.stderr);
        let warnings: Vec<_> = output
            .lines()
            // The binary may be installed elsewhere or not at all.
            .filter(|line| line.contains("ssm-proxyd") && !line.contains("is not executable"))
            .collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
    }
}

/// Others may connect to sockets in it whose mode allows that. They must not be able to open the
/// directory itself, or a file in it.
#[test]
fn no_shipped_unit_opens_its_runtime_directory_to_others() {
    for unit in [
        "systemd/ssm-proxyd.service",
        "systemd/ssm-proxyd-user.service",
    ] {
        let text = std::fs::read_to_string(unit).unwrap();
        let mut lines = text.lines();
        let mode = lines.find_map(|line| line.strip_prefix("RuntimeDirectoryMode="));
        let mode = u32::from_str_radix(mode.expect(unit), 8).unwrap();

        assert_eq!(mode & !0o711, 0, "{unit}: {mode:o}");
    }
}

/// The notification socket of a service manager, with a timeout of a minute, and its path.
fn manager() -> (TempDir, PathBuf, UnixDatagram) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    let limit = Some(Duration::from_secs(60));
    socket.set_read_timeout(limit).unwrap();
    (directory, path, socket)
}

/// Waits for a message that contains this text.
fn notification(socket: &UnixDatagram, text: &str) -> String {
    let mut buffer = [0; 4096];
    let mut all = String::new();
    loop {
        let len = socket
            .recv(&mut buffer)
            .unwrap_or_else(|_| panic!("{text:?} is not in {all}"));
        let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if message.contains(text) {
            return message;
        }
        all += &message;
    }
}
