//! Sessions that the service considers idle.

use std::time::Duration;

use ssm_proxyd::sim::{EndedBy, Faults, Options, ServerKind, Snapshot};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::forward;
use crate::support::in_process::{InProcess, destination};
use crate::support::transfer::exchange;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_kept_alive_while_its_connection_is_open_and_only_if_configured() {
    let echo = destination(ServerKind::Echo).await;
    let held = forward("held", &echo, "keep_alive = true\nsessions = \"shared\"");
    let left = forward("left", &echo, "");
    let options = Options {
        faults: Faults {
            idle_timeout: Some(Duration::from_secs(34)),
            ..Faults::default()
        },
        ..Options::default()
    };
    let fixture = InProcess::with(options, &(held + &left)).await;
    let mut held = TcpStream::connect(fixture.address_of(0)).await.unwrap();
    exchange(&mut held, b"held").await.unwrap();
    let mut left = TcpStream::connect(fixture.address_of(1)).await.unwrap();
    exchange(&mut left, b"left").await.unwrap();

    let end = left.read(&mut [0; 1]).await;

    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    // The other session has been idle for as long, and a second longer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    exchange(&mut held, b"still held").await.unwrap();
    drop(held);
    let is_idle = |ledger: &Snapshot| {
        let idle = |session: &&_| ended_idle(session);
        ledger.sessions.iter().filter(idle).count() == 2
    };
    fixture
        .until("a session without a connection may time out", is_idle)
        .await;
    fixture.end().await;
}

fn ended_idle(session: &ssm_proxyd::sim::SessionRecord) -> bool {
    session.ended_by == Some(EndedBy::Idle)
}
