//! The file of a Unix socket, from the daemon's start to its end.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use ssm_proxyd::config;
use ssm_proxyd::daemon::{Daemon, DaemonEnvironment, StartError};
use ssm_proxyd::forward::ActivatedSockets;
use ssm_proxyd::session::{Identity, TerminatePolicy};

use crate::support::in_process::TARGET;

/// A daemon with a forward on each of these addresses; it never starts a session.
async fn start(listen: &[&str], keys: &str) -> Result<Daemon, StartError> {
    let mut text =
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"http://127.0.0.1:1\"\n".to_owned();
    for (n, listen) in listen.iter().enumerate() {
        text += &format!(
            "[[forward]]\nname = \"f{n}\"\nlisten = \"{listen}\"\ntarget = \"{TARGET}\"\nremote = 22\n{keys}\n"
        );
    }
    let identity = Identity::Fixed {
        access_key: "test".to_owned(),
        secret_key: "test".to_owned(),
    };
    let caller = DaemonEnvironment {
        origin: "tests".to_owned(),
        identity,
        state: None,
        passed: ActivatedSockets::default(),
        admin: None,
        log: None,
        orphan_policy: TerminatePolicy::Required,
    };
    Daemon::start(config::parse(&text).unwrap(), caller).await
}

fn address(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_creates_its_socket_with_its_mode_and_removes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");

    let daemon = start(&[&address(&path)], "mode = \"0620\"").await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    UnixStream::connect(&path).unwrap();
    daemon.stop().await;

    assert_eq!(mode & 0o7777, 0o620);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_cannot_bind_all_addresses_leaves_no_socket_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();

    let error = start(&[&address(&path), &taken], "").await.unwrap_err();

    assert!(error.to_string().contains(&taken), "{error}");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_gets_address_in_use_and_the_first_keeps_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let first = start(&[&address(&path)], "").await.unwrap();

    let error = start(&[&address(&path)], "").await.unwrap_err();

    let expected = format!(
        "forward \"f0\": cannot listen on unix:{}: address already in use",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
    UnixStream::connect(&path).unwrap();
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_takes_over_the_socket_file_of_a_killed_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());

    let daemon = start(&[&address(&path)], "").await.unwrap();

    UnixStream::connect(&path).unwrap();
    daemon.stop().await;
}
