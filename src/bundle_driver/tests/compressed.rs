//! Compressed flows.

use super::*;
use crate::bundle::features;

fn text(len: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|number: u32| format!("row {number} of the table\n").into_bytes());
    lines.take(len).collect()
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    bytes
}

fn compressed() -> Ends {
    Ends::with_features(&Options::DEFAULT, features::ALL, features::ALL)
}

/// Sends from one end to the end, and returns what the other end receives; `None` if it is reset.
async fn pass(from: &Flow, to: &Flow, bytes: &[u8]) -> Option<Vec<u8>> {
    let sending = async {
        from.write_all(bytes).await.unwrap();
        from.finish();
    };
    tokio::join!(sending, read_all(to)).1
}

async fn read_all(flow: &Flow) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match flow.read(100_000).await {
            FlowRead::Data(bytes) => all.extend_from_slice(&bytes),
            FlowRead::End => return Some(all),
            FlowRead::Reset => return None,
        }
    }
}

/// Bytes that the daemon has sent and received on its stripes.
fn moved(ends: &Ends) -> usize {
    let stripes = ends.daemon.status().stripes.into_iter();
    let moved: u64 = stripes.map(|stripe| stripe.sent + stripe.received).sum();
    usize::try_from(moved).unwrap()
}

#[tokio::test(start_paused = true)]
async fn text_takes_less_on_the_stripes_and_its_flow_counts_all_of_it() {
    let ends = compressed();
    ends.connect();
    let (ours, theirs) = ends.flow().await;
    let text = text(300_000);

    assert!(pass(&ours, &theirs, &text).await.unwrap() == text);
    assert!(pass(&theirs, &ours, &text).await.unwrap() == text);

    let len = text.len() as u64;
    assert_eq!((ours.traffic(), theirs.traffic()), ((len, len), (len, len)));
    assert!(moved(&ends) < text.len(), "{}", moved(&ends));
    drop((ours, theirs));
    assert_eq!(ends.daemon.free_frames(), ends.relay.free_frames());
}

#[tokio::test(start_paused = true)]
async fn text_and_random_bytes_in_turn_arrive() {
    let all = [text(100_000), random(900_000), text(100_000), random(10)].concat();
    for features in [features::ZSTD, features::ALL] {
        let ends = Ends::with_features(&Options::DEFAULT, features, features::ALL);
        ends.connect();
        let (ours, theirs) = ends.flow().await;

        assert!(pass(&ours, &theirs, &all).await.unwrap() == all);
        assert!(pass(&theirs, &ours, &all).await.unwrap() == all);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_the_feature_gets_bytes_as_they_are() {
    for (ours, theirs) in [(features::ALL, 0), (0, features::ALL)] {
        let ends = Ends::with_features(&Options::DEFAULT, ours, theirs);
        ends.connect();
        let (ours, theirs) = ends.flow().await;
        let text = text(100_000);

        theirs.write_encoded(b"raw");
        assert_eq!(ours.read(9).await, FlowRead::Data("raw".into()));
        assert!(pass(&ours, &theirs, &text).await.unwrap() == text);

        assert!(moved(&ends) > text.len());
    }
}

#[tokio::test(start_paused = true)]
async fn each_write_can_be_read_before_the_next() {
    let ends = compressed();
    ends.connect();
    let (ours, theirs) = ends.flow().await;

    for len in [1, 5000, 1, 3] {
        let text = text(len);
        ours.write_all(&text).await.unwrap();
        assert_eq!(theirs.read(9000).await, FlowRead::Data(text.into()));
    }
    ours.finish();
    assert_eq!(theirs.read(9).await, FlowRead::End);
}

#[tokio::test(start_paused = true)]
async fn a_read_returns_no_more_than_what_is_taken() {
    let ends = compressed();
    ends.connect();
    let (ours, theirs) = ends.flow().await;

    ours.write_all(&[0; 50_000]).await.unwrap();

    for _ in 0..5000 {
        assert_eq!(theirs.read(10).await, FlowRead::Data(vec![0; 10].into()));
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_cannot_be_decoded_reset_their_flow_alone() {
    let ends = compressed();
    ends.connect();
    for invalid in [&b"\x09"[..], b"\0\0\0", b"\x01GET / HTTP/1.1"] {
        let (ours, theirs) = ends.flow().await;

        ours.write_encoded(invalid);

        assert_eq!(theirs.read(100).await, FlowRead::Reset);
        assert_eq!(theirs.read(100).await, FlowRead::Reset);
        assert_eq!(theirs.write(b"x").await, Err(FlowClosed));
        ours.aborted().await;
    }
    let (ours, theirs) = ends.flow().await;
    assert_eq!(pass(&ours, &theirs, b"fine").await.unwrap(), b"fine");
}

#[tokio::test(start_paused = true)]
async fn an_end_within_a_segment_is_a_reset() {
    let ends = compressed();
    ends.connect();
    for part in [&b"\0\0\x02x"[..], b"\0", b"\x01", b"\x01\x28\xb5\x2f\xfd"] {
        let (ours, theirs) = ends.flow().await;

        ours.write_encoded(part);
        ours.finish();

        assert_eq!(read_all(&theirs).await, None);
        assert_eq!(theirs.read(100).await, FlowRead::Reset);
    }
}

#[tokio::test(start_paused = true)]
async fn only_some_flows_are_compressed_at_the_same_time() {
    let ends = compressed();
    ends.connect();
    let (free, text) = (ends.daemon.free_frames().0, text(5000));
    let mut flows = Vec::new();
    for _ in 0..free + 2 {
        let (ours, theirs) = ends.flow().await;
        ours.write_all(&text).await.unwrap();
        assert!(matches!(theirs.read(1).await, FlowRead::Data(_)));
        flows.push((ours, theirs));
    }
    assert_eq!(ends.daemon.free_frames().0, 0);

    let rest = [&text[1..], b"end"].concat();
    for (ours, theirs) in &flows {
        assert!(pass(ours, theirs, b"end").await.unwrap() == rest);
    }
    assert_eq!(ends.daemon.free_frames().0, free);
}

#[tokio::test(start_paused = true)]
async fn an_idle_flow_takes_no_memory_for_compression() {
    let ends = compressed();
    ends.connect();
    let free = (ends.daemon.free_frames(), ends.relay.free_frames());
    let (ours, theirs) = ends.flow().await;
    ours.write_all(&text(5000)).await.unwrap();
    assert!(matches!(theirs.read(9000).await, FlowRead::Data(_)));
    assert_ne!(ends.relay.free_frames(), free.1);

    // The end of the frame is read.
    let idle = timeout(Duration::from_secs(12), theirs.read(1)).await;

    assert!(idle.is_err());
    assert_eq!((ends.daemon.free_frames(), ends.relay.free_frames()), free);
    assert_eq!(pass(&ours, &theirs, &text(5000)).await.unwrap(), text(5000));
}

#[tokio::test(start_paused = true)]
async fn a_flow_beyond_the_frames_that_may_be_read_waits_for_another() {
    let ends = compressed();
    ends.connect();
    let mut frame = crate::compression::Encoder::new(crate::compression::Mode::Always);
    let frame = frame.encode(&text(600), true).unwrap();
    let mut flows = Vec::new();
    for _ in 0..ends.relay.free_frames().1 {
        let (ours, theirs) = ends.flow().await;
        ours.write_encoded(&frame);
        assert!(matches!(theirs.read(1).await, FlowRead::Data(_)));
        flows.push((ours, theirs));
    }
    let (ours, theirs) = ends.flow().await;
    ours.write_encoded(&frame);
    let waiting = timeout(Duration::from_secs(60), theirs.read(1)).await;
    assert!(waiting.is_err());

    flows.pop();

    assert!(matches!(theirs.read(1).await, FlowRead::Data(_)));
    let (ours, theirs) = ends.flow().await;
    ours.write_encoded(&frame);
    let (read, ()) = tokio::join!(theirs.read(1), async { ours.reset() });
    assert_eq!(read, FlowRead::Reset);
}
