//! Compressed flows through a relay process.

use std::time::Duration;

use ssm_proxyd::bundle::{Options, features};
use ssm_proxyd::bundle_driver::{Flow, FlowRead};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Daemon, OPTIONS, Relay, connected, in_time, read_all};
use crate::support::payload::{assert_whole, mixed, text};

const COMPRESSED: Options = Options {
    features: features::ZSTD,
    ..OPTIONS
};

/// Sends and receives at both ends of a flow, and checks all bytes.
async fn transfer(flow: &Flow, destination: TcpStream, up: &[u8], down: &[u8]) {
    let (mut reader, mut writer) = destination.into_split();
    let mut received = Vec::new();
    let sending = async {
        flow.write_all(up).await.unwrap();
        flow.finish();
    };
    let answering = async {
        writer.write_all(down).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (_, _, read, taken) = tokio::join!(
        sending,
        answering,
        read_all(flow),
        in_time(reader.read_to_end(&mut received))
    );
    taken.unwrap();
    assert_whole(&received, up);
    assert_whole(&read.expect("the flow ends cleanly"), down);
}

/// Bytes that the daemon has sent and received.
fn moved(daemon: &Daemon) -> u64 {
    let stripes = daemon.handle.status().stripes.into_iter();
    stripes.map(|stripe| stripe.sent + stripe.received).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn text_takes_a_part_of_its_length_on_the_stripes() {
    let relay = Relay::local();
    let (up, down) = (text(1, 2_000_000), text(2, 2_000_000));
    let mut moves = Vec::new();
    for (id, options) in [(1, COMPRESSED), (2, OPTIONS)] {
        let daemon = Daemon::with(relay.address, id, options).await;
        let (flow, destination) = connected(&daemon).await;
        transfer(&flow, destination, &up, &down).await;
        moves.push(moved(&daemon));
    }

    assert!(moves[0] < 2_000_000, "{moves:?}");
    assert!(moves[1] > 4_000_000, "{moves:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_exact_in_both_directions_while_stripes_are_cut() {
    let relay = Relay::local();
    let daemon = Daemon::with(relay.address, 1, COMPRESSED).await;
    let (flow, destination) = connected(&daemon).await;
    let (up, down) = (mixed(3, 12 << 20), mixed(4, 12 << 20));
    let mut random = fastrand::Rng::with_seed(18);

    let mut cuts = 0;
    let cutting = async {
        loop {
            sleep(Duration::from_millis(random.u64(5..100))).await;
            daemon.agent.cut(random.usize(..));
            cuts += 1;
        }
    };
    tokio::select! {
        () = transfer(&flow, destination, &up, &down) => {}
        () = cutting => {}
    }

    assert!(cuts > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_either_side_is_a_reset_at_the_other() {
    let relay = Relay::local();
    let daemon = Daemon::with(relay.address, 1, COMPRESSED).await;
    let text = text(5, 100_000);

    let (flow, mut destination) = connected(&daemon).await;
    flow.write_all(&text).await.unwrap();
    in_time(destination.read_exact(&mut [0; 1000]))
        .await
        .unwrap();
    flow.reset();
    let read = in_time(destination.read_to_end(&mut Vec::new())).await;
    read.unwrap_err();

    let (flow, mut destination) = connected(&daemon).await;
    destination.write_all(&text).await.unwrap();
    assert!(matches!(in_time(flow.read(1000)).await, FlowRead::Data(_)));
    destination.set_zero_linger().unwrap();
    drop(destination);
    assert_eq!(read_all(&flow).await, None);
}
