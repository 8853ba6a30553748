//! Rate limiting by the gateway: the upload rate is lowered, and that is logged once.

use std::io::Write;
use std::thread::{self, JoinHandle};

use ssm_proxyd::sim::{
    Destination, DisconnectKind, Faults, OneOffFault, Options, ServerKind, Simulator,
};

use crate::support::daemon_process::{DaemonProcess, connect, forward};
use crate::support::in_process::{destination, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_closed_during_an_upload_lowers_the_rate_and_is_logged_once() {
    let upload = Upload::begin().await;
    for attached in 1..=3 {
        upload.messages(RATE).await;
        let broken = OneOffFault::Break(DisconnectKind::Close(1000));
        assert_eq!(upload.simulator.inject(None, broken), 1);
        until("the session is resumed", || {
            upload.simulator.ledger().sessions[0].attached > attached
        })
        .await;
    }

    upload.assert_lowered().await;

    let (simulator, log) = upload.end();
    assert_eq!(simulator.ledger().sessions[0].attached, 4);
    assert_logged_once(&log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_during_an_upload_lowers_the_rate_and_is_logged_once() {
    let upload = Upload::begin().await;
    for _ in 0..3 {
        upload.messages(RATE).await;
        assert_eq!(upload.simulator.inject(None, OneOffFault::PauseClient), 1);
        assert_eq!(upload.simulator.inject(None, OneOffFault::StartClient), 1);
    }

    upload.assert_lowered().await;

    let (simulator, log) = upload.end();
    assert_eq!(simulator.ledger().sessions[0].attached, 1);
    assert_logged_once(&log);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_not_rate_limited_keeps_its_rate() {
    let upload = Upload::begin().await;

    upload.messages(RATE).await;
    upload.simulator.set_faults(lowest_limited());

    until("the websocket is closed for its rate", || {
        upload.simulator.ledger().sessions[0].cut_off > 0
    })
    .await;
    let (_, log) = upload.end();
    assert_logged_once(&log);
}

/// An endless upload through a daemon to a sink.
struct Upload {
    simulator: Simulator,
    daemon: DaemonProcess,
    writer: JoinHandle<()>,
    _sink: Destination,
}

impl Upload {
    async fn begin() -> Self {
        let sink = destination(ServerKind::Sink).await;
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let port = sink.address().port();
        let keys = format!("remote = {port}\nupload_rate = {RATE}\nupload_window = \"64KiB\"");
        let daemon = DaemonProcess::start(&simulator, &forward("f", &keys));
        let mut client = connect(daemon.address());
        let writer = thread::spawn(move || while client.write_all(&[7; 4096]).is_ok() {});
        until("the session has begun", || {
            !simulator.ledger().sessions.is_empty()
        })
        .await;
        Self {
            simulator,
            daemon,
            writer,
            _sink: sink,
        }
    }

    /// Waits until this number of further messages has arrived.
    async fn messages(&self, more: u64) {
        let received = || self.simulator.ledger().sessions[0].traffic.messages_in;
        let expected = received() + more;
        until("messages arrive", || received() >= expected).await;
    }

    /// Asserts that no second has more messages than the lowered rate permits.
    async fn assert_lowered(&self) {
        // By then the last second has the lowered rate.
        self.messages(RATE).await;
        self.simulator.set_faults(lowest_limited());
        self.messages(RATE).await;
        let session = &self.simulator.ledger().sessions[0];
        assert_eq!(session.cut_off, 0, "{session:#?}");
    }

    /// Stops the daemon during the upload; returns its log.
    fn end(self) -> (Simulator, String) {
        let log = self.daemon.stop(&self.simulator);
        self.writer.join().unwrap();
        (self.simulator, log)
    }
}

/// A sender at the full rate exceeds this within a second. A sender at half the rate cannot: 200
/// messages of that second, a burst of 10, and the 64 of a full window that arrived late.
fn lowest_limited() -> Faults {
    Faults {
        max_rate: Some(360),
        ..Faults::default()
    }
}

fn assert_logged_once(log: &str) {
    let logged = log.matches("rate limited by Session Manager");
    assert_eq!(logged.count(), 1, "{log}");
    assert!(log.contains("rate=200"), "{log}");
}

/// Messages a second, of about 1 KiB.
const RATE: u64 = 400;
