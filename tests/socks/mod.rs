//! `[[proxy]]` and `forward -D`: SOCKS5, SOCKS4a and HTTP CONNECT over real sockets.

mod browser;
mod churn;
mod clients;
mod failures;
mod forward;
mod hostile;
mod protocols;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::support::daemon_process::{DaemonProcess, connect};
use crate::support::in_process::{TARGET, destination};

/// A proxy of the configuration with these rules and keys.
fn proxy(allow: &str, keys: &str) -> String {
    format!(
        "[[proxy]]\nname = \"p\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{TARGET}\"\n\
         allow = [{allow}]\n{keys}"
    )
}

/// A simulator whose agents reach a server at each of these hosts.
async fn simulator(hosts: &[&str], server: SocketAddr) -> Simulator {
    let mut options = Options::default();
    for host in hosts {
        options.resolver.insert(host, None, server).unwrap();
    }
    Simulator::start(options).await.unwrap()
}

/// A simulator with an echo server at `echo.internal`, and a daemon with this proxy.
async fn echo(allow: &str, keys: &str) -> (Simulator, DaemonProcess) {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(
        &["echo.internal", "10.1.2.3", "2001:db8::7"],
        echo.address(),
    )
    .await;
    let daemon = DaemonProcess::start(&simulator, &proxy(allow, keys));
    // It runs until the test ends.
    std::mem::forget(echo);
    (simulator, daemon)
}

/// A request of SOCKS5 for a name, after the greeting.
fn socks5_name(name: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 3, u8::try_from(name.len()).unwrap()];
    bytes.extend(name.as_bytes());
    bytes.extend(port.to_be_bytes());
    bytes
}

fn socks4a(name: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![4, 1];
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0]);
    bytes.extend(name.as_bytes());
    bytes.push(0);
    bytes
}

fn http(authority: &str) -> Vec<u8> {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes()
}

/// Sends bytes and returns `len` bytes of the answer.
fn exchange(client: &mut TcpStream, bytes: &[u8], len: usize) -> Vec<u8> {
    client.write_all(bytes).unwrap();
    let mut answer = vec![0; len];
    client.read_exact(&mut answer).unwrap();
    answer
}

/// Connects and sends bytes; returns everything up to the end of the connection.
fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = patient(address);
    client.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    answer
}

/// Connects, with a limit that is never reached unless the test fails.
fn patient(address: SocketAddr) -> TcpStream {
    let client = connect(address);
    client
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    client
}

/// Opens a connection to a name through SOCKS5.
fn open(address: SocketAddr, name: &str, port: u16) -> TcpStream {
    let mut client = patient(address);
    assert_eq!(exchange(&mut client, &[5, 1, 0], 2), [5, 0]);
    let answer = exchange(&mut client, &socks5_name(name, port), 10);
    assert_eq!(answer[..2], [5, 0], "{answer:?}");
    client
}

/// The reply field of SOCKS5 for a name.
fn socks5_reply(address: SocketAddr, name: &str, port: u16) -> u8 {
    let request = [&[5, 1, 0][..], &socks5_name(name, port)].concat();
    let answer = answer(address, &request);
    assert_eq!(
        (answer.len(), &answer[..3]),
        (12, &[5, 0, 5][..]),
        "{answer:?}"
    );
    answer[3]
}
