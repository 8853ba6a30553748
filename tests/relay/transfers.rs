//! Bulk in both directions, with stripes that are cut.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Daemon, Relay, connected, in_time, read_all};
use crate::support::payload::{assert_whole, pattern};
use ssm_proxyd::bundle_driver::Flow;

const LEN: usize = 12 << 20;

/// Sends and receives at both ends of a flow, and checks all bytes.
async fn transfer(flow: Flow, destination: TcpStream, seed: u64) {
    let (up, down) = (pattern(seed, LEN), pattern(seed + 1, LEN));
    let (mut reader, mut writer) = destination.into_split();
    let mut received = Vec::new();

    let sending = async {
        flow.write_all(&up).await.unwrap();
        flow.finish();
    };
    let answering = async {
        writer.write_all(&down).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (_, _, read, taken) = tokio::join!(
        sending,
        answering,
        read_all(&flow),
        in_time(reader.read_to_end(&mut received))
    );

    taken.unwrap();
    assert_whole(&received, &up);
    assert_whole(&read.expect("the flow ends cleanly"), &down);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_exact_in_both_directions_while_stripes_are_cut() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let first = connected(&daemon).await;
    let second = connected(&daemon).await;
    let mut random = fastrand::Rng::with_seed(18);

    let transfers = async {
        tokio::join!(
            transfer(first.0, first.1, 1),
            transfer(second.0, second.1, 5)
        )
    };
    let mut cuts = 0;
    let cutting = async {
        loop {
            sleep(Duration::from_millis(random.u64(5..100))).await;
            daemon.agent.cut(random.usize(..));
            cuts += 1;
        }
    };
    tokio::select! {
        _ = transfers => {}
        () = cutting => {}
    }

    assert!(cuts > 0);
    let left = async {
        while daemon.handle.status().flows > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_survive_the_loss_of_all_stripes_for_some_seconds() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, destination) = connected(&daemon).await;

    let outage = async {
        sleep(Duration::from_millis(50)).await;
        daemon.agent.set_offline(true);
        daemon.agent.cut_all();
        sleep(Duration::from_secs(3)).await;
        daemon.agent.set_offline(false);
    };
    tokio::join!(outage, transfer(flow, destination, 3));

    assert!(daemon.handle.end().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_delays_no_other_connection() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (_stalled, mut endless) = connected(&daemon).await;
    let flooding = async {
        let zeros = vec![0; 1 << 20];
        while endless.write_all(&zeros).await.is_ok() {}
    };
    let (flow, destination) = connected(&daemon).await;

    tokio::select! {
        () = flooding => panic!("the stalled flow has ended"),
        () = transfer(flow, destination, 9) => {}
    }
}
