//! A reset never looks like an end, at whatever moment it comes.

use std::io::ErrorKind;
use std::time::Duration;

use ssm_proxyd::bundle_driver::FlowRead;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Daemon, Relay, connected, in_time, read_all};
use crate::support::transfer::abort;

/// Reads to the end of a connection. Returns its error.
async fn end(mut destination: TcpStream) -> ErrorKind {
    let mut all = Vec::new();
    let read = in_time(destination.read_to_end(&mut all)).await;
    read.expect_err("it is reset").kind()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_destination_during_an_upload_is_not_an_end() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    for round in 0..100 {
        let (flow, mut destination) = connected(&daemon).await;
        destination.write_all(b"begin").await.unwrap();
        let uploading = async { while flow.write(&[7; 10_000]).await.is_ok() {} };
        let resetting = async {
            // After any number of bytes.
            let mut bytes = vec![0; 1 + 700 * round];
            destination.read_exact(&mut bytes).await.unwrap();
            abort(destination);
        };

        let ((), (), got) = tokio::join!(in_time(uploading), in_time(resetting), read_all(&flow));

        assert_eq!(got, None, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_client_during_an_upload_is_not_an_end() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    for round in 0..100 {
        let (flow, destination) = connected(&daemon).await;

        flow.write_all(&vec![7; 700 * round]).await.unwrap();
        match round % 2 {
            0 => flow.reset(),
            _ => drop(flow),
        }

        assert_eq!(
            end(destination).await,
            ErrorKind::ConnectionReset,
            "{round}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_arrives_although_the_destination_takes_nothing() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, destination) = connected(&daemon).await;

    // Until all buffers are full.
    let bytes = vec![7; 1 << 20];
    while timeout(Duration::from_secs(1), flow.write(&bytes))
        .await
        .is_ok()
    {}
    flow.reset();

    assert_eq!(end(destination).await, ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_while_the_client_takes_nothing_is_not_an_end_when_it_reads_on() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;

    let bytes = vec![7; 1 << 20];
    while timeout(Duration::from_secs(1), destination.write(&bytes))
        .await
        .is_ok()
    {}
    abort(destination);

    assert_eq!(read_all(&flow).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_after_its_end_frees_a_silent_destination() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;
    let upload = vec![7; 300_000];

    flow.write_all(&upload).await.unwrap();
    flow.finish();
    let confirmed = async {
        while !flow.is_confirmed() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(confirmed).await;
    flow.reset();

    // It gets what the client sent, and its end. Then nobody is there.
    let mut got = Vec::new();
    in_time(destination.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, upload);
    let refused = async { while destination.write(b"answer").await.is_ok() {} };
    in_time(refused).await;
    assert_eq!(flow.read(1).await, FlowRead::Reset);
}
