//! curl against a real HTTP server through the daemon.
//!
//! The server is Python's `http.server` as a child process; the agent dials it like the simulator's
//! target does.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};
use ssm_proxyd::sim::{Options, Simulator, seeded_bytes};
use tempfile::TempDir;

use crate::support::daemon_process::{
    DaemonProcess, forward, forward_to, free_address, with_fast_upload,
};
use crate::support::in_process::unpaced;
use crate::support::process::{Lines, Process};

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_is_complete() {
    let server = WebServer::new();
    server.put("large", 20 << 20);
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward_to(server.address));
    let to = server.path("received");

    let answer = curl(&["-o", &to, &url(daemon.address(), "large")]);

    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(hash(server.path("received")), hash(server.path("large")));
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_is_complete() {
    let server = WebServer::new();
    server.put("large", 10 << 20);
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &with_fast_upload(forward_to(server.address)));
    let from = format!("@{}", server.path("large"));

    let answer = curl(&["--data-binary", &from, &url(daemon.address(), "")]);

    let expected = format!("{} {}\n", 10 << 20, hash(server.path("large")));
    assert_eq!(answer.out, expected, "{answer:?}");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_requests_share_a_connection_and_its_session() {
    let server = WebServer::new();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward_to(server.address));
    let urls: Vec<_> = (0..5)
        .map(|n| {
            let name = format!("file{n}");
            server.put(&name, 2000 + n);
            url(daemon.address(), &name)
        })
        .collect();
    let mut arguments = vec!["-w", "%{num_connects}\n"];
    arguments.extend(urls.iter().flat_map(|url| ["-o", "/dev/null", url]));

    let answer = curl(&arguments);

    assert_eq!((answer.code, answer.out.as_str()), (0, "1\n0\n0\n0\n0\n"));
    daemon.stop(&simulator);
    assert_eq!(simulator.ledger().started, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_responses_are_those_of_a_direct_connection() {
    let server = WebServer::new();
    server.put("file", 5000);
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward_to(server.address));
    for (case, arguments) in [
        ("HTTP/1.0, ended by the server", &["--http1.0"][..]),
        ("head alone", &["--head"]),
        (
            "not there",
            &["--fail-with-body", "--request-target", "/none"],
        ),
        (
            "a range that the server ignores",
            &["-H", "Range: bytes=1-9"],
        ),
        ("closed by request", &["-H", "Connection: close"]),
        ("an unknown method", &["-X", "BREW"]),
        ("a request with a body", &["-d", "x=1"]),
    ] {
        let request = |address| {
            let url = url(address, "file");
            let mut all = vec!["-w", "\n%{http_code} %{size_download}", &url];
            all.extend(arguments);
            let mut answer = curl(&all);
            answer.out = without_date(&answer.out);
            answer
        };

        let direct = request(server.address);
        let forwarded = request(daemon.address());

        assert_eq!(forwarded, direct, "{case}");
    }
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_is_a_reset_and_not_an_empty_response() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let keys = "remote = \"nowhere.internal:80\"\nexplain = \"off\"";
    let lost = forward("lost", keys);
    let forwards = format!("{}{lost}", forward_to(free_address()));
    let daemon = DaemonProcess::start(&simulator, &forwards);

    for name in ["f", "lost"] {
        let answer = curl(&[&url(daemon.address_of(name), "")]);

        assert_eq!(answer.code, RECEIVE_FAILED, "{name}: {answer:?}");
        assert!(answer.err.contains("reset by peer"), "{name}: {answer:?}");
    }
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_response_is_an_error() {
    let server = WebServer::new();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward_to(server.address));

    let direct = curl(&["-o", "/dev/null", &url(server.address, "torn")]);
    let forwarded = curl(&["-o", "/dev/null", &url(daemon.address(), "torn")]);

    assert_eq!(direct.code, PARTIAL_FILE, "{direct:?}");
    assert_eq!(forwarded.code, PARTIAL_FILE, "{forwarded:?}");
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once_have_a_session_and_a_response_each() {
    let server = WebServer::new();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward_to(server.address));
    let names: Vec<_> = (0..12).map(|n| format!("file{n}")).collect();
    let children: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            server.put(name, 100_000 + n);
            let to = format!("{}.came", server.path(name));
            Process::start(&mut command(&["-o", &to, &url(daemon.address(), name)]))
        })
        .collect();

    for (name, mut child) in names.iter().zip(children) {
        assert_eq!(child.exit_code(), 0, "{name}: {}", child.stderr.all());
        let received = format!("{}.came", server.path(name));
        assert_eq!(hash(received), hash(server.path(name)), "{name}");
    }
    daemon.stop(&simulator);
    assert_eq!(simulator.ledger().started, 12);
}

/// A directory, and a server of its files.
struct WebServer {
    directory: TempDir,
    address: SocketAddr,
    _server: Process,
}

impl WebServer {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("python3");
        command
            .args(["-u", "-c", SERVER])
            .current_dir(directory.path());
        let mut server = Process::start(&mut command);
        let address = first_line(&mut server.stdout).parse().unwrap();
        Self {
            directory,
            address,
            _server: server,
        }
    }

    /// Writes a file with different bytes for each name.
    fn put(&self, name: &str, len: usize) {
        let bytes: Vec<u8> = seeded_bytes(len as u64, len as u64).flatten().collect();
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        path.display().to_string()
    }
}

/// The exit code and the output of curl.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: i32,
    out: String,
    err: String,
}

fn curl(arguments: &[&str]) -> Answer {
    let mut child = Process::start(&mut command(arguments));
    Answer {
        code: child.exit_code(),
        out: child.stdout.all(),
        err: child.stderr.all(),
    }
}

/// curl without user settings and without a proxy.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["-q", "--silent", "--show-error", "--noproxy", "*"])
        .args(["--max-time", "60"])
        .args(arguments);
    command
}

fn url(address: SocketAddr, name: &str) -> String {
    format!("http://{address}/{name}")
}

fn first_line(lines: &mut Lines) -> String {
    lines.wait_for("127.0.0.1:")
}

/// Removes the date: two responses are a moment apart.
fn without_date(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("Date: "));
    lines.map(|line| format!("{line}\n")).collect()
}

fn hash(path: impl AsRef<Path>) -> String {
    let bytes = std::fs::read(path).unwrap();
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Python's HTTP server with persistent connections, a handler for uploads, and one file whose
/// response is truncated.
const SERVER: &str = r#"
import hashlib
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/torn":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"x" * 50000)
        self.close_connection = True

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        answer = f"{length} {hashlib.sha256(body).hexdigest()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

server = Server(("127.0.0.1", 0), Handler)
print("127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
"#;

/// curl's exit codes: a response that is too short; a connection that failed while receiving.
const PARTIAL_FILE: i32 = 18;
const RECEIVE_FAILED: i32 = 56;
