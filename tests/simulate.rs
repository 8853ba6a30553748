//! The simulator as a program: what its options do to the sessions of a client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use ssm_proxyd::sim::Role;

use crate::support::process::{Process, ssm_proxyd};
use crate::support::running::{Running, assert_echo, assert_reset, connect, forward_to};
use crate::support::stage::{destination, until};

#[tokio::test(flavor = "multi_thread")]
async fn websockets_break_as_planned_and_are_resumed() {
    let echo = destination(Role::Echo).await;
    // Some fall before there is a websocket, on a slow machine.
    let plan: Vec<_> = (1..=60)
        .map(|n| format!("--blow={}ms=break:1000", 250 * n))
        .collect();
    let far = Far::start(&plan);
    let daemon = Running::launch(ssm_proxyd(), &far.endpoint(), &forward_to(echo.address()));
    let mut client = connect(daemon.address());

    until("websockets broke", || {
        assert_echo(&mut client, b"hello");
        far.ledger()["sessions"][0]["attached"].as_u64() > Some(2)
    })
    .await;

    assert_echo(&mut client, b"still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_dies_as_planned_and_its_client_is_reset() {
    let echo = destination(Role::Echo).await;
    let plan = ["--blow", "500ms=kill-agent", "--crash-delay", "0ms"];
    let far = Far::start(&plan);
    let mut daemon = Running::launch(ssm_proxyd(), &far.endpoint(), &forward_to(echo.address()));

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    assert!(line.contains("document process failed"), "{line}");
    let ledger = far.ledger();
    assert_eq!(ledger["sessions"][0]["ended_by"], "agent_failure");
}

#[test]
fn what_is_no_blow_is_bad_usage_and_what_is_one_is_told() {
    for (bad, words) in [
        ("kill-agent", "expected AFTER=BLOW, as 5s=kill-agent"),
        ("5s=kil-agent", "\"kil-agent\" is no blow; expected break:"),
        ("5s=break", "for example break:reset or break:1000"),
        ("5=kill-agent", "expected us, ms, s or m"),
    ] {
        let mut process = Process::start(ssm_proxyd().args(["simulate", "--blow", bad]));

        let (code, said) = (process.exit_code(), process.stderr.all());

        assert_eq!(code, 2, "{said}");
        for needed in ["--blow <AFTER=BLOW>", bad, words] {
            assert!(said.contains(needed), "{bad}: no {needed:?} in\n{said}");
        }
    }
}

/// A simulator in a process of its own.
struct Far {
    _process: Process,
    address: SocketAddr,
}

impl Far {
    fn start<S: AsRef<str>>(options: &[S]) -> Self {
        let options = options.iter().map(AsRef::as_ref);
        let mut process = Process::start(ssm_proxyd().arg("simulate").args(options));
        let described: Value = serde_json::from_str(&process.stdout.wait_for("{")).unwrap();
        Self {
            _process: process,
            address: described["address"].as_str().unwrap().parse().unwrap(),
        }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn ledger(&self) -> Value {
        let mut http = TcpStream::connect(self.address).unwrap();
        let request = "GET /simulator/ledger HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        http.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}
