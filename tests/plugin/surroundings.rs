//! What the plugin finds on the machine: copies of itself, taken addresses, readers that do not
//! read, programs that it runs.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use ssm_proxyd::sim::{Options, ServerKind};

use super::aws_cli::path_with;
use super::{Fixture, VARIABLE, copy_program, opened, port_request};
use crate::cli::ended;
use crate::support::daemon_process::{assert_echo, connect, free_address};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::Process;

/// Copies of the program do not call each other for ever, and do not hide the official plugin.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_the_program_do_not_hide_the_official_plugin() {
    let fixture = Fixture::new(Options::default()).await;
    let directories = ["one", "two", "official"].map(|name| fixture.home.path().join(name));
    let plugins = directories.each_ref().map(|directory| {
        fs::create_dir(directory).unwrap();
        directory.join("session-manager-plugin")
    });
    for copy in &plugins[..2] {
        copy_program(copy);
    }
    script(&plugins[2], "echo official");
    let path = [fixture.links()].into_iter().chain(directories);
    let path = std::env::join_paths(path).unwrap();
    let response = r#"{"SessionId":"me-1","TokenValue":"t","StreamUrl":"wss://h/"}"#;
    let request = json!({ "Target": TARGET }).to_string();
    let mut command = fixture.call(&[response, "us-east-1", "StartSession", "", &request]);

    let (code, out, err) = ended(command.env("PATH", path));

    assert_eq!((code, &out[..], &err[..]), (0, "official\n", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_on_ipv6_is_served_on_ipv4() {
    let Ok(taken) = TcpListener::bind("[::1]:0") else {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    };
    let port = taken.local_addr().unwrap().port();
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut request = port_request(echo.address().port());
    request["Parameters"]["localPortNumber"] = json!([port.to_string()]);
    let mut plugin = Process::start(&mut fixture.session(&request).await);

    let address = opened(&mut plugin);

    assert_eq!(address, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    assert_echo(&mut connect(address), b"hello");
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    let err = plugin.stderr.all();
    assert!(err.contains("on 127.0.0.1 only"), "{err}");
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_reader_of_stdout_that_does_not_read() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let address = free_address();
    let mut request = port_request(echo.address().port());
    request["Parameters"]["localPortNumber"] = json!([address.port().to_string()]);
    let (_reader, full) = full_socket();
    let mut command = fixture.session(&request).await;
    let mut child = command.stdout(Stdio::from(full)).spawn().unwrap();
    until("the port is open", || {
        std::net::TcpStream::connect(address).is_ok()
    })
    .await;

    assert_echo(&mut connect(address), b"hello");
    let kill = format!("kill -INT {}", child.id());
    let sent = std::process::Command::new("sh")
        .args(["-c", &kill])
        .status();

    assert!(sent.unwrap().success());
    until("the plugin has ended", || {
        child.try_wait().unwrap().is_some()
    })
    .await;
    fixture.assert_clean();
}

/// Returns both ends of a socket; the second one takes no more bytes.
fn full_socket() -> (UnixStream, OwnedFd) {
    let (reader, mut writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let error = loop {
        if let Err(error) = writer.write(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    writer.set_nonblocking(false).unwrap();
    (reader, writer.into())
}

/// The token may be in a variable of a longer name.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_process_does_not_get_the_token() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let program = fixture.home.path().join("credentials");
    let seen = fixture.home.path().join("seen");
    script(
        &program,
        &format!(
            "env > '{}'\necho '{{\"Version\":1,\"AccessKeyId\":\"AKID\",\"SecretAccessKey\":\"s\"}}'",
            seen.display()
        ),
    );
    let file = fixture.home.path().join("config");
    let profile = format!("[profile p]\ncredential_process = {}\n", program.display());
    fs::write(&file, profile).unwrap();
    let request = port_request(echo.address().port());
    let session = fixture.session(&request).await;
    let token = super::token_of(&session);
    let mut variables = session.get_envs();
    let (_, response) = variables.find(|(name, _)| *name == VARIABLE).unwrap();
    let long = format!("{VARIABLE}_0a1b");
    let mut command = fixture.call(&[&long, "us-east-1", "StartSession", "p"]);
    command
        .args([request.to_string(), fixture.simulator.endpoint()])
        .env(&long, response.unwrap())
        .env("PATH", path_with(&fixture.links()))
        .env("AWS_CONFIG_FILE", file);
    let mut plugin = Process::start(&mut command);
    opened(&mut plugin);

    plugin.signal("INT");

    assert_eq!(plugin.exit_code(), 0);
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("PATH=") && !seen.contains(&token), "{seen}");
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}
