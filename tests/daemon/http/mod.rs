//! Health and metrics over HTTP: requested by curl, and by invalid clients.

mod clients;
mod life;
mod metrics;
mod monitoring;
#[cfg(debug_assertions)]
mod panics;
mod readiness;
mod relayed;
mod reloads;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;
use ssm_proxyd::sim::{ApiFault, Destination, Operation, Options, ServerKind, Simulator};

use crate::cli::ended;
use crate::support::daemon_process::{
    File, assert_clean, assert_names, assert_reset, caller, connect,
};
use crate::support::daemon_process::{forward, free_address};
use crate::support::in_process::{destination, until};
use crate::support::process::{Process, ssm_proxyd};

#[tokio::test(flavor = "multi_thread")]
async fn each_page_has_its_status_type_and_text() {
    let fixture = Fixture::new("").await;
    for (path, kind, text) in [
        ("/startup", "text/plain; charset=utf-8", "started\n"),
        ("/readiness", "text/plain; charset=utf-8", "ready\n"),
        ("/liveness", "text/plain; charset=utf-8", "alive\n"),
        ("/status", "application/json", "{\"version\":"),
        (
            "/metrics",
            "text/plain; version=0.0.4; charset=utf-8",
            "# HELP ssm_proxyd_",
        ),
        (
            "/startup?verbose=1",
            "text/plain; charset=utf-8",
            "started\n",
        ),
    ] {
        let answer = curl(&["-i", &fixture.url(path)]);

        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert!(answer.body.starts_with(text), "{path}: {}", answer.body);
        let head = curl(&["-I", &fixture.url(path)]);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-type"), Some(kind), "{path}");
    }
    fixture.ends();
}

/// The admin socket returns the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_equals_the_output_of_the_command() {
    let fixture = Fixture::new("").await;
    let mut command = ssm_proxyd();
    command.args(["status", "--json", "--socket"]);
    let (code, output, _) = ended(command.arg(fixture.socket()));
    assert_eq!(code, 0);

    let mut statuses = [output, fixture.get("/status").body].map(|text| {
        let status: Value = serde_json::from_str(&text).unwrap();
        status
    });

    for status in &mut statuses {
        status["uptime_seconds"] = Value::Null;
        status["forwards"][0]["state_seconds"] = Value::Null;
    }
    assert_eq!(statuses[0], statuses[1]);
    assert_eq!(statuses[1]["alive"], true);
    assert_eq!(statuses[1]["forwards"][0]["name"], "f");
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_paths_are_refused() {
    let fixture = Fixture::new("").await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "GETT"] {
        let refused = curl(&["-i", "-X", method, &fixture.url("/status")]);

        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"), "{method}");
    }
    for path in [
        "/",
        "/metrics/",
        "/Metrics",
        "//status",
        "/simulator/ledger",
        "/%73tatus",
    ] {
        let unknown = curl(&["-i", "--path-as-is", &fixture.url(path)]);

        assert_eq!(unknown.status, 404, "{path}");
        assert!(unknown.body.contains("/readiness"), "{}", unknown.body);
        let posted = curl(&["-i", "--path-as-is", "-d", "x", &fixture.url(path)]);
        assert_eq!(posted.status, 404, "{path}");
    }
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_forward_is_reported_and_does_not_make_the_daemon_unready() {
    let fixture = Fixture::new("").await;
    fixture.refuse_next();
    assert_reset(connect(fixture.forward));

    let answer = fixture.get("/readiness");

    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "ready\nfailing: f TargetNotConnected\n");
    assert_eq!(fixture.get("/liveness").status, 200);
    fixture.ends();
}

/// The answers of a daemon with HTTP before any forward runs.
#[test]
fn a_port_in_use_stops_a_strict_daemon_completely() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (held.local_addr().unwrap(), free_address());
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\n[http]\nlisten = \"{taken}\"\n{}",
        forward("f", "remote = 1").replace("127.0.0.1:0", &free.to_string())
    );
    let file = File::new(&text);
    let mut command = ssm_proxyd();

    let (code, _, output) = ended(
        command
            .args(["run", "--strict", "--config"])
            .arg(file.path()),
    );

    assert_eq!(code, 71, "{output}");
    let address = taken.to_string();
    let needed = [
        "[http]: cannot listen on",
        &address,
        "in use",
        "\n hint: another program",
    ];
    assert_names(&output, &needed);
    assert!(!output.contains("listening"), "{output}");
    assert!(TcpStream::connect(free).is_err());
}

/// A daemon with `[http]`, an admin socket and one forward, `f`, to an echo.
struct Fixture {
    simulator: Simulator,
    echo: Destination,
    file: File,
    daemon: Process,
    /// The address of `f`.
    forward: SocketAddr,
    /// The address of HTTP.
    http: SocketAddr,
}

impl Fixture {
    /// With these tables added.
    async fn new(tables: &str) -> Self {
        Self::with(tables, |command| command).await
    }

    /// With these keys in `[http]`.
    async fn with_http(keys: &str) -> Self {
        let mut fixture = Self::new("").await;
        let http = serving(fixture.http) + keys;
        fixture.write(&http, &fixture.forward_with(""));
        fixture.reload("reloaded: ");
        fixture
    }

    /// The same, with another environment.
    async fn with(tables: &str, change: impl Fn(&mut Command) -> &mut Command) -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let echo = destination(ServerKind::Echo).await;
        let (forward, http) = (free_address(), free_address());
        let file = File::new("");
        let mut command = caller(&simulator);
        command.args(["run", "--config"]).arg(file.path());
        change(&mut command);
        let text = text(&simulator, &file, &serving(http), tables);
        std::fs::write(file.path(), text + &to(&echo, forward)).unwrap();
        let mut daemon = Process::start(&mut command);
        let line = daemon.stderr.wait_for("serving HTTP");
        assert!(line.contains(&format!("local_address={http}")), "{line}");
        daemon.stderr.wait_for("listening");
        Self {
            simulator,
            echo,
            file,
            daemon,
            forward,
            http,
        }
    }

    /// Writes another file: its HTTP table and its forwards.
    fn write(&self, http: &str, forwards: &str) {
        let text = text(&self.simulator, &self.file, http, "");
        std::fs::write(self.file.path(), text + forwards).unwrap();
    }

    /// Makes the daemon reload its file, and waits for the result in the log.
    fn reload(&mut self, text: &str) -> String {
        self.daemon.signal("HUP");
        self.daemon.stderr.wait_for(text)
    }

    /// The forward of the first file, with these keys added.
    fn forward_with(&self, keys: &str) -> String {
        to(&self.echo, self.forward) + keys
    }

    fn socket(&self) -> std::path::PathBuf {
        self.file.directory().join("admin.sock")
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    fn get(&self, path: &str) -> Answer {
        get(self.http, path)
    }

    fn refuse_next(&self) {
        let fault = ApiFault {
            code: "TargetNotConnected".to_owned(),
            times: Some(1),
        };
        self.simulator.fail(Operation::StartSession, fault);
    }

    fn ends(mut self) -> String {
        self.daemon.signal("TERM");
        self.is_over()
    }

    /// Waits until it ends by itself; returns its output.
    fn is_over(&mut self) -> String {
        let code = self.daemon.exit_code();
        let log = self.daemon.stderr.all();
        assert_eq!(code, 0, "{log}");
        assert!(
            TcpStream::connect(self.http).is_err(),
            "no listener is open"
        );
        assert_clean(&self.simulator);
        log
    }
}

/// Everything except the forwards.
fn text(simulator: &Simulator, file: &File, http: &str, tables: &str) -> String {
    let socket = file.directory().join("admin.sock");
    let endpoint = simulator.endpoint();
    format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n\
         [admin]\nsocket = {socket:?}\n{http}{tables}"
    )
}

fn serving(address: SocketAddr) -> String {
    format!("[http]\nlisten = \"{address}\"\n")
}

fn to(echo: &Destination, listen: SocketAddr) -> String {
    let keys = format!("remote = {}", echo.address().port());
    forward("f", &keys).replace("127.0.0.1:0", &listen.to_string())
}

/// A parsed response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self {
            status: status.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// One page, over a connection of its own.
pub(super) fn get(address: SocketAddr, path: &str) -> Answer {
    let mut client = connect(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    let answer = Answer::of(&text);
    let length = answer.header("content-length").unwrap();
    assert_eq!(length, answer.body.len().to_string(), "{path}");
    answer
}

/// Runs curl without user settings and without a proxy; returns the response.
fn curl(arguments: &[&str]) -> Answer {
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "60"]);
    let (code, out, output) = ended(command.args(arguments));
    assert_eq!(code, 0, "{arguments:?}: {output}");
    Answer::of(&out)
}
