//! `connect --push-key`: when the key is sent, to whom, and what is refused.

use std::fs;
use std::net::TcpListener;

use ssm_proxyd::sim::{ApiFault, Operation, Options, ServerKind, Simulator};
use tempfile::TempDir;

use crate::support::connect_process::ConnectProcess;
use crate::support::daemon_process::{assert_clean, assert_names};
use crate::support::in_process::{TARGET, destination, unpaced};

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_pushed_when_the_session_is_ready_and_before_the_first_byte() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        require_signature: true,
        ..unpaced()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let file = KeyFile::new("id.pub", &format!("{KEY} me@host\n"));
    let port = echo.address().port().to_string();
    let arguments = [
        TARGET,
        &port,
        "--push-key",
        &file.path(),
        "--user",
        "ec2-user",
    ];
    let mut connect = ConnectProcess::with(&simulator, "", &arguments);

    connect.send(b"hello");

    assert_eq!(connect.receive(5), b"hello");
    let ledger = simulator.ledger();
    let [key] = &ledger.pushed_keys[..] else {
        panic!("{:?}", ledger.pushed_keys)
    };
    assert_eq!((&key.instance[..], &key.user[..]), (TARGET, "ec2-user"));
    assert_eq!((&key.key[..], &key.signature[..]), (KEY, "valid"));
    let session = &ledger.sessions[0];
    assert!(session.handshake_us.unwrap() < key.pushed_us);
    assert!(key.pushed_us < session.first_input_us.unwrap());
    drop(connect.stdin.take());
    connect.signal("TERM");
    assert_eq!(connect.end(), (143, String::new()));
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_of_the_push_has_its_exit_code_and_remedy_and_ends_the_session() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port().to_string();
    for (api, code, words) in [
        ("AuthException", 77, "ec2-instance-connect:SendSSHPublicKey"),
        ("AccessDeniedException", 77, "ec2:osuser"),
        (
            "EC2InstanceNotFoundException",
            69,
            "region and account are those of the instance",
        ),
        (
            "EC2InstanceStateInvalidException",
            69,
            "check that the instance is running",
        ),
        ("InvalidArgsException", 78, "ed25519 or rsa"),
        (
            "ThrottlingException",
            75,
            "AWS limits the rate of this call",
        ),
        ("ServiceException", 69, "try again"),
    ] {
        let simulator = Simulator::start(unpaced()).await.unwrap();
        fail(&simulator, api, None);
        let file = KeyFile::new("id.pub", KEY);
        let arguments = [TARGET, &port, "--push-key", &file.path(), "--user", "a"];
        let tables = "[defaults]\nconnect_timeout = \"2s\"\n";

        let (exit, stderr) = ConnectProcess::with(&simulator, tables, &arguments).end();

        assert_eq!((exit, stderr.lines().count()), (code, 1), "{api}: {stderr}");
        assert_names(&stderr, &["SendSSHPublicKey: ", api, words]);
        let ledger = simulator.ledger();
        assert_eq!((ledger.started, ledger.pushed_keys.len()), (1, 0));
        assert_clean(&simulator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_push_is_repeated_in_the_same_session() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(unpaced()).await.unwrap();
    fail(&simulator, "ThrottlingException", Some(2));
    let file = KeyFile::new("id.pub", KEY);
    let port = echo.address().port().to_string();
    let arguments = [TARGET, &port, "--push-key", &file.path(), "--user", "a"];
    let mut connect = ConnectProcess::with(&simulator, "", &arguments);

    connect.send(b"hello");

    assert_eq!(connect.receive(5), b"hello");
    let ledger = simulator.ledger();
    assert_eq!((ledger.started, ledger.pushed_keys.len()), (1, 1));
    assert_eq!(ledger.calls["SendSSHPublicKey"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_public_key_or_not_an_instance_is_refused_before_any_call() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let long = format!("{KEY} {}", "c".repeat(4096));
    for (name, content, words) in [
        (
            "id",
            SECRET,
            &["private key", "it was not sent", "`.pub`"][..],
        ),
        ("id.pub", SECRET, &["private key", "it was not sent"]),
        (
            "id.pub",
            "ecdsa-sha2-nistp256 AAAA",
            &["ecdsa-sha2-nistp256", "ssh-keygen -t ed25519"],
        ),
        (
            "id.pub",
            "hello",
            &["not a public key", "ssh-ed25519 AAAA…"],
        ),
        ("id.pub", &long, &["4096"]),
    ] {
        let file = KeyFile::new(name, content);
        let arguments = [TARGET, "--push-key", &file.path(), "--user", "a"];

        let (code, stderr) = ConnectProcess::with(&simulator, "", &arguments).end();

        assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
        assert_names(&stderr, words);
        assert_names(&stderr, &[&file.path()]);
        assert!(!stderr.contains("c2VjcmV0"), "{stderr}");
    }
    let file = KeyFile::new("id.pub", KEY);
    let path = file.path();
    for (arguments, words) in [
        (
            &["mi-0123456789abcdef0", "--user", "a"][..],
            &["not an EC2 instance"][..],
        ),
        (&["ecs:a_b_c", "--user", "a"], &["not an EC2 instance"]),
        (&[TARGET], &["--user"]),
        (&[TARGET, "--user", "a b"], &["not a user name", "ec2-user"]),
    ] {
        let arguments = [arguments, &["--push-key", &path]].concat();

        let (code, stderr) = ConnectProcess::with(&simulator, "", &arguments).end();

        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert_names(&stderr, words);
    }
    let missing = [TARGET, "--push-key", "missing.pub", "--user", "a"];
    let (code, stderr) = ConnectProcess::with(&simulator, "", &missing).end();
    assert_eq!(code, 2, "{stderr}");
    assert_names(&stderr, &["missing.pub"]);
    assert_eq!(simulator.ledger().calls.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_goes_to_the_configured_endpoint_if_that_is_on_this_machine_too() {
    let echo = destination(ServerKind::Echo).await;
    let (simulator, other) = (
        Simulator::start(unpaced()).await.unwrap(),
        Simulator::start(unpaced()).await.unwrap(),
    );
    let file = KeyFile::new("id.pub", KEY);
    let port = echo.address().port().to_string();
    let arguments = [TARGET, &port, "--push-key", &file.path(), "--user", "a"];
    let endpoint = |url: &str| format!("ec2_instance_connect_endpoint = \"{url}\"\n");

    let here = endpoint(&other.endpoint());
    let mut connect = ConnectProcess::with(&simulator, &here, &arguments);
    connect.send(b"hello");
    assert_eq!(connect.receive(5), b"hello");
    let away = endpoint("https://vpce-1.ec2-instance-connect.us-east-1.vpce.amazonaws.com");
    let (code, stderr) = ConnectProcess::with(&simulator, &away, &arguments).end();

    assert_eq!(other.ledger().pushed_keys.len(), 1);
    assert_eq!(simulator.ledger().pushed_keys.len(), 0);
    assert_eq!(code, 78, "{stderr}");
    assert_names(&stderr, &["ec2_instance_connect_endpoint", "loopback"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_answer_is_not_awaited_for_longer_than_connect_timeout() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let echo = destination(ServerKind::Echo).await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tables = format!(
        "ec2_instance_connect_endpoint = \"http://{}\"\n[defaults]\nconnect_timeout = \"2s\"\n",
        silent.local_addr().unwrap()
    );
    let file = KeyFile::new("id.pub", KEY);
    let port = echo.address().port().to_string();
    let arguments = [TARGET, &port, "--push-key", &file.path(), "--user", "a"];

    let (code, stderr) = ConnectProcess::with(&simulator, &tables, &arguments).end();

    assert_eq!((code, stderr.lines().count()), (69, 1), "{stderr}");
    let words = [
        "SendSSHPublicKey: no response within connect_timeout",
        "DNS",
    ];
    assert_names(&stderr, &words);
    assert_clean(&simulator);
}

fn fail(simulator: &Simulator, code: &str, times: Option<u32>) {
    let code = code.to_owned();
    simulator.fail(Operation::SendSshPublicKey, ApiFault { code, times });
}

/// A file in a directory of its own.
struct KeyFile(TempDir, &'static str);

impl KeyFile {
    fn new(name: &'static str, content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), content).unwrap();
        Self(directory, name)
    }

    fn path(&self) -> String {
        self.0.path().join(self.1).display().to_string()
    }
}

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKE2gYFYBGl5yXOxbMbZrTnJmWkxVrrX5Yc0cxyF1nqJ";

const SECRET: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_during_the_push_is_reported_at_once() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let sshd = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap();
    let port = sshd.local_addr().unwrap().port().to_string();
    let tables = format!("ec2_instance_connect_endpoint = \"http://{endpoint}\"\n");
    let file = KeyFile::new("id.pub", KEY);
    let arguments = [TARGET, &port, "--push-key", &file.path(), "--user", "a"];

    let connect = ConnectProcess::with(&simulator, &tables, &arguments);
    let (connection, _) = sshd.accept().unwrap();
    let (_push, _) = silent.accept().unwrap();
    drop(connection);
    let (code, stderr) = connect.end();

    assert_eq!(code, 69, "{stderr}");
    assert_names(&stderr, &["the session was terminated"]);
    assert_clean(&simulator);
}
