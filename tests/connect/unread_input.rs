//! Leftovers when `connect` ends: a session, or unread bytes of stdin.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use ssm_proxyd::sim::{ApiFault, Operation, Options, ServerKind, Simulator};

use crate::support::connect_process::{ConnectProcess, DEFAULTS};
use crate::support::in_process::{TARGET, destination, unpaced, until};

/// The forward ends late, so the remaining time is for its session.
#[tokio::test(flavor = "multi_thread")]
async fn two_signals_while_an_upgrade_hangs_leave_no_session() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let tables = format!(
        "ssmmessages_endpoint = \"ws://{}\"\n{DEFAULTS}",
        gateway.local_addr().unwrap()
    );
    let process = ConnectProcess::with(&simulator, &tables, &[TARGET, "22"]);
    let _silent = gateway.accept().unwrap();

    process.signal("INT");
    process.signal("HUP");

    let (code, stderr) = process.end();
    assert!([129, 130].contains(&code), "{code}");
    assert_eq!(stderr, "");
    assert!(simulator.ledger().sessions[0].terminate_called);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_that_leaves_a_session_is_not_a_success() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let fault = ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: None,
    };
    simulator.fail(Operation::TerminateSession, fault);
    let source = destination(ServerKind::Source { len: 10, seed: 5 }).await;
    let mut process = ConnectProcess::start(&simulator, source.address().port());

    assert_eq!(process.read_to_end().len(), 10);

    let (code, stderr) = process.end();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("may still be active"), "{stderr}");
}

/// Like `connect < file | head -c1`.
#[tokio::test(flavor = "multi_thread")]
async fn stdout_closed_before_stdin_is_delivered_is_not_a_success() {
    let mut blocked = Blocked::new(&[]).await;

    drop(blocked.process.stdout.take());

    blocked.assert_undelivered();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_ends_before_it_got_stdin_is_not_a_success() {
    let mut blocked = Blocked::new(&["--remote"]).await;

    drop(blocked.destination.take());

    assert_eq!(blocked.process.read_to_end(), b"", "the end must be clean");
    blocked.assert_undelivered();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_ends_after_stdout_closed_is_not_a_success() {
    let mut blocked = Blocked::new(&["--remote"]).await;

    drop(blocked.process.stdout.take());
    blocked
        .destination
        .as_mut()
        .unwrap()
        .write_all(b"y")
        .unwrap();
    drop(blocked.destination.take());

    blocked.assert_undelivered();
}

/// A `connect` whose destination has sent one byte and reads nothing, so that stdin is full.
struct Blocked {
    process: ConnectProcess,
    destination: Option<TcpStream>,
    writer: JoinHandle<()>,
    _simulator: Simulator,
}

impl Blocked {
    /// `by` is the option for the address of the destination; without one it is a port.
    async fn new(by: &[&str]) -> Self {
        let simulator = Simulator::start(unpaced()).await.unwrap();
        let slow = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = slow.local_addr().unwrap().port();
        let address = match by {
            [] => port.to_string(),
            _ => format!("localhost:{port}"),
        };
        let arguments = [&[TARGET], by, &[&address]].concat();
        let mut process = ConnectProcess::with(&simulator, DEFAULTS, &arguments);
        let (mut destination, _) = slow.accept().unwrap();
        destination.write_all(b"x").unwrap();
        assert_eq!(process.receive(1), b"x");
        let mut stdin = process.stdin.take().unwrap();
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let writer = thread::spawn(move || {
            while stdin.write_all(&[7; 4096]).is_ok() {
                count.fetch_add(1, Relaxed);
            }
        });
        let (mut before, mut same) = (0, 0);
        until("no more input is taken", || {
            let now = written.load(Relaxed);
            same = if now > 0 && now == before {
                same + 1
            } else {
                0
            };
            before = now;
            same == 200
        })
        .await;
        Self {
            process,
            destination: Some(destination),
            writer,
            _simulator: simulator,
        }
    }

    fn assert_undelivered(self) {
        let (code, stderr) = self.process.end();
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("stdin"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        self.writer.join().unwrap();
    }
}
