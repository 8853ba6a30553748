//! Faults of the network between this machine and AWS. The names are those of AWS only where a proxy
//! routes them, so that nothing is resolved and nothing leaves this machine.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};
use ssm_proxyd::sim::ServerKind;

use super::*;
use crate::support::connect_proxy::ConnectProxy;
use crate::support::daemon_process::free_address;
use crate::support::fake_api::captive_portal;
use crate::support::in_process::destination;

/// An address that does not answer, as its accept queue is full, while the sockets exist.
pub(super) fn black_hole() -> (SocketAddr, Vec<Socket>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap();
    let mut sockets = vec![socket];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        drop(filler.connect(&address));
        sockets.push(filler);
    }
    (address.as_socket().unwrap(), sockets)
}

#[test]
fn the_connection_is_refused() {
    let text = file(&format!("http://{}", free_address()), &forward(1));

    examine_by(ssm_proxyd(), &text, &[]).assert_as("tcp-refused");
}

#[test]
fn the_packets_are_dropped() {
    let (address, _sockets) = black_hole();
    let text = file(&format!("http://{address}"), &forward(1));

    let examined = examine_by(ssm_proxyd(), &text, &["--check-timeout", "2s"]);

    examined.assert_as("black-hole");
}

#[test]
fn the_time_of_all_checks_passes_before_there_is_an_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for scheme in ["http", "https"] {
        let endpoint = format!("{scheme}://{}", silent.local_addr().unwrap());
        let text = file(&endpoint, &forward(1));

        let examined = examine_by(ssm_proxyd(), &text, &["--timeout", "5s"]);

        examined.assert_as("out-of-time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_not_trusted() {
    let simulator = simulator(|options| options.tls = true).await;

    examine(&simulator, &forward(1)).assert_as("tls-untrusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_of_a_trusted_certificate_is_shown() {
    let simulator = simulator(|options| options.tls = true).await;
    let echo = destination(ServerKind::Echo).await;
    let bundle = bundle(&simulator);
    let mut command = caller(&simulator);
    command.env("AWS_CA_BUNDLE", bundle.path());

    let text = with_endpoint(&simulator, &forward(echo.address().port()));

    examine_by(command, &text, &[]).assert_as("tls-trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_without_tls() {
    let simulator = simulator(|_| {}).await;
    let endpoint = simulator.endpoint().replace("http:", "https:");

    let text = file(&endpoint, &forward(1));

    examine_by(caller(&simulator), &text, &[]).assert_as("no-tls");
}

#[test]
fn the_answer_is_a_web_page() {
    let portal = captive_portal();

    let text = file(&format!("http://{portal}"), &forward(1));

    examine_by(ssm_proxyd(), &text, &[]).assert_as("captive-portal");
}

#[test]
fn the_proxy_requires_a_password() {
    let proxy = ConnectProxy::to(free_address(), |_| {
        Some("407 Proxy Authentication Required")
    });

    by_proxy(proxy.address(), &[]).assert_as("proxy-407");
}

#[test]
fn the_proxy_does_not_reach_aws() {
    let proxy = ConnectProxy::to(free_address(), |_| Some("502 Bad Gateway"));

    by_proxy(proxy.address(), &[]).assert_as("proxy-502");
}

#[test]
fn the_proxy_refuses_the_connection() {
    by_proxy(free_address(), &[]).assert_as("proxy-down");
}

#[test]
fn the_proxy_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();

    let examined = by_proxy(listener.local_addr().unwrap(), &["--check-timeout", "2s"]);

    examined.assert_as("proxy-hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_passes_through_a_proxy() {
    let simulator = simulator(|options| {
        options.tls = true;
        options.public_names = true;
        options.require_signature = true;
    });
    let simulator = simulator.await;
    let echo = destination(ServerKind::Echo).await;
    let proxy = ConnectProxy::to(simulator.address(), |request| {
        let is_sts = request.host.starts_with("sts.");
        is_sts.then_some("403 Forbidden")
    });
    let bundle = bundle(&simulator);
    let mut command = caller(&simulator);
    command.env("AWS_CA_BUNDLE", bundle.path());
    command.env("HTTPS_PROXY", format!("http://{}", proxy.address()));

    let text = format!(
        "[aws]\nregion = \"us-east-1\"\n{}",
        forward(echo.address().port())
    );

    examine_by(command, &text, &[]).assert_as("proxy-passes");
    assert_clean(&simulator);
}

/// Examines a forward that reaches AWS through a proxy.
fn by_proxy(proxy: SocketAddr, arguments: &[&str]) -> Examined {
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nproxy = \"http://{proxy}\"\n{}",
        forward(1)
    );
    examine_by(ssm_proxyd(), &text, arguments)
}

fn bundle(simulator: &Simulator) -> tempfile::NamedTempFile {
    let mut bundle = tempfile::NamedTempFile::new().unwrap();
    let pem = simulator.certificate_pem().unwrap();
    bundle.write_all(pem.as_bytes()).unwrap();
    bundle
}

/// The sockets of a test must not be inherited by others.
#[test]
fn a_black_hole_does_not_answer() {
    let (address, _sockets) = black_hole();

    let timeout = std::time::Duration::from_millis(300);
    assert!(TcpStream::connect_timeout(&address, timeout).is_err());
}
