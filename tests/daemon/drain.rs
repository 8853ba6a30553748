//! Graceful shutdown: open connections may finish.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ssm_proxyd::sim::{Destination, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_clean, assert_echo, assert_reset, caller, connect, forward,
};
use crate::support::in_process::{destination, until};

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_finish_and_new_ones_are_refused() {
    let mut fixture = Fixture::new("1h", "").await;
    let mut client = fixture.client();

    fixture.daemon.process.signal("TERM");
    let line = fixture.wait_for_log("waiting for open connections");
    assert!(line.contains("connections=1"), "{line}");
    let address = fixture.address;
    until("the listener is closed", || {
        TcpStream::connect(address).is_err()
    })
    .await;
    assert_echo(&mut client, b"still here");
    drop(client);

    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_still_open_after_the_drain_are_reset() {
    let mut fixture = Fixture::new("100ms", "").await;
    let client = fixture.client();

    fixture.daemon.process.signal("TERM");

    fixture.wait_for_log("reset connections that were still open");
    assert_reset(client);
    fixture.ends();
}

/// The daemon learns of a stop and of the ends of its clients in any order.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_close_just_before_a_stop_are_not_reset() {
    let mut fixture = Fixture::new("0s", "").await;
    let clients: Vec<_> = (0..20).map(|_| fixture.client()).collect();

    drop(clients);
    fixture.daemon.process.signal("TERM");

    assert_eq!(fixture.daemon.process.exit_code(), 0);
    let log = fixture.daemon.process.stderr.all();
    assert!(!log.contains("reset"), "{log}");
    assert_eq!(log.matches("reason=\"client_closed\"").count(), 20, "{log}");
    assert_clean(&fixture.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_waits_for_no_connection() {
    let mut fixture = Fixture::new("1h", "").await;
    let client = fixture.client();

    fixture.daemon.process.signal("TERM");
    fixture.wait_for_log("waiting for open connections");
    fixture.daemon.process.signal("INT");

    fixture.wait_for_log("second stop request");
    assert_reset(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_connection_is_reset_when_the_drain_begins() {
    let fixture = Fixture::new("1h", "max_connections = 1").await;
    let mut open = fixture.client();
    let waiting = connect(fixture.address);

    fixture.daemon.process.signal("TERM");

    assert_reset(waiting);
    assert_echo(&mut open, b"still here");
    drop(open);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_session_ends_when_the_drain_begins() {
    let fixture = Fixture::new("1h", "warm = 1").await;
    let mut client = fixture.client();
    let simulator = &fixture.simulator;
    until("a warm session is open", || {
        simulator.ledger().open_sessions() == 2
    })
    .await;

    fixture.daemon.process.signal("TERM");

    until("one session is open", || {
        simulator.ledger().open_sessions() == 1
    })
    .await;
    assert_echo(&mut client, b"still here");
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_session_do_not_count_as_draining() {
    let options = Options {
        api_delay: Duration::from_secs(3600),
        ..Options::default()
    };
    let mut fixture = Fixture::of(options, "1h", "").await;
    let waiting = connect(fixture.address);
    let simulator = &fixture.simulator;
    until("the call has arrived", || simulator.ledger().started == 1).await;

    fixture.daemon.process.signal("TERM");
    assert_reset(waiting);
    fixture.daemon.process.signal("TERM");

    let (code, log) = (
        fixture.daemon.process.exit_code(),
        fixture.daemon.process.stderr.all(),
    );
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("waiting for open connections"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_drain_timeout_sessions_get_the_time_that_connections_did_not_need() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        api_delay: Duration::from_secs(4),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n{}",
        simulator.endpoint(),
        forward("f", &format!("remote = {}\n", echo.address().port()))
    );
    let daemon = DaemonProcess::of_file(caller(&simulator), &text);
    let mut client = connect(daemon.address());
    assert_echo(&mut client, b"hello");
    drop(client);

    let log = daemon.stop(&simulator);

    assert!(!log.contains("may still be active"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_handled_while_connections_finish() {
    let mut fixture = Fixture::new("1h", "").await;
    let mut client = fixture.client();
    fixture.daemon.process.signal("TERM");
    fixture.wait_for_log("waiting for open connections");

    fixture.daemon.process.signal("USR1");
    let line = fixture.wait_for_log("listing open connections");
    assert!(line.contains("connections=1"), "{line}");
    let line = fixture.wait_for_log(" open ");
    assert!(line.contains("sent=5 received=5"), "{line}");
    fixture.daemon.process.signal("USR2");
    fixture.wait_for_log("retrying now");
    fixture.daemon.process.signal("HUP");
    fixture.wait_for_log("reload rejected: the daemon is stopping");

    assert_echo(&mut client, b"still here");
    drop(client);
    fixture.ends();
}

/// A daemon with a drain timeout and a forward to an echo.
struct Fixture {
    simulator: Simulator,
    daemon: DaemonProcess,
    address: SocketAddr,
    _echo: Destination,
}

impl Fixture {
    async fn new(drain: &str, keys: &str) -> Self {
        Self::of(Options::default(), drain, keys).await
    }

    async fn of(options: Options, drain: &str, keys: &str) -> Self {
        let echo = destination(ServerKind::Echo).await;
        let simulator = Simulator::start(options).await.unwrap();
        let keys = format!("remote = {}\n{keys}", echo.address().port());
        let tables = format!(
            "[shutdown]\ndrain_timeout = \"{drain}\"\n{}",
            forward("f", &keys)
        );
        let daemon = DaemonProcess::start(&simulator, &tables);
        let address = daemon.address();
        Self {
            simulator,
            daemon,
            address,
            _echo: echo,
        }
    }

    /// A connection that has exchanged bytes.
    fn client(&self) -> TcpStream {
        let mut client = connect(self.address);
        assert_echo(&mut client, b"hello");
        client
    }

    fn wait_for_log(&mut self, text: &str) -> String {
        self.daemon.process.stderr.wait_for(text)
    }

    fn ends(mut self) {
        assert_eq!(self.daemon.process.exit_code(), 0);
        assert_clean(&self.simulator);
    }
}
