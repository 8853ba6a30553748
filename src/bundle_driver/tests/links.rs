//! Byte streams between the two ends, with an agent between that delays, stalls, loses and cuts them.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::bundle::handshake::{Handshake, HandshakeDecoder};
use crate::bundle_driver::BundleHandle;
use crate::clock;
use crate::virtual_net::{self, Address, Listener, Stream};

/// When the network fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    /// Nothing fails from then on.
    pub(super) good_from: Instant,
    /// From and until when nothing is connected.
    pub(super) offline: (Instant, Instant),
}

pub(super) fn listen() -> Listener {
    let any = ([127, 0, 0, 1], 0).into();
    virtual_net::bind(Address::Tcp(any)).unwrap()
}

/// Connects the stripes that the daemon wants, and now and then one more.
pub(super) async fn connect(daemon: BundleHandle, agent: Address, mut random: fastrand::Rng) {
    while daemon.wait_for_demand(0).await.is_some() {
        for _ in 0..1 + usize::from(random.u32(0..6) == 0) {
            if let Ok(stream) = virtual_net::connect(&agent).await {
                drop(daemon.connect_stripe(stream));
            }
        }
        sleep(Duration::from_millis(random.u64(1..100))).await;
    }
}

/// Accepts stripes at the relay.
pub(super) async fn accept(listener: Listener, relay: BundleHandle) {
    loop {
        let mut stream = listener.accept().await;
        let mut hello = [0; 44];
        let read = timeout(Duration::from_secs(5), stream.read_exact(&mut hello)).await;
        let Ok(Ok(_)) = read else {
            continue;
        };
        let hello = HandshakeDecoder::default().decode(&mut &hello[..]);
        let Ok(Some(Handshake::Hello(hello))) = hello else {
            panic!("{hello:?}");
        };
        // A refused one is lost.
        drop(relay.accept_stripe(&hello, stream, Vec::new()));
    }
}

/// Runs the agent: carries the bytes of each byte stream to the relay, and lets it fail.
pub(super) async fn run_agent(
    listener: Listener,
    relay: Address,
    conditions: Conditions,
    mut random: fastrand::Rng,
) {
    let mut streams = JoinSet::new();
    loop {
        let near = tokio::select! {
            near = listener.accept() => near,
            Some(carried) = streams.join_next() => {
                carried.unwrap();
                continue;
            }
        };
        let (from, until) = conditions.offline;
        if (from..until).contains(&clock::now()) {
            continue;
        }
        let far = virtual_net::connect(&relay).await.unwrap();
        streams.spawn(carry(near, far, conditions, random.fork()));
    }
}

/// Carries bytes both ways until the stream is cut, or either end has ended both directions.
async fn carry(near: Stream, far: Stream, conditions: Conditions, mut random: fastrand::Rng) {
    let is_good = random.u32(0..4) == 0 || clock::now() >= conditions.good_from;
    let lives = Duration::from_millis(random.u64(0..20_000) >> random.u32(0..8));
    let (from, _) = conditions.offline;
    let begun = clock::now();
    let end = match is_good {
        true => begun + Duration::from_secs(24 * 3600),
        false => begun + lives,
    };
    let end = if begun < from { end.min(from) } else { end };
    let up = pump(&near, &far, conditions, random.fork());
    let down = pump(&far, &near, conditions, random.fork());
    tokio::select! {
        // Cut: each end may see an end or a reset, after any byte.
        () = sleep_until(end.into()) => {
            near.reset_on_drop(random.bool());
            far.reset_on_drop(random.bool());
            if random.u32(0..4) == 0 {
                // Neither end is told.
                sleep(Duration::from_secs(120)).await;
            }
        }
        _ended = async { tokio::join!(up, down) } => {}
    }
}

/// Carries bytes in one direction, in pieces of any size, with stalls, until its end.
async fn pump(
    from: &Stream,
    to: &Stream,
    conditions: Conditions,
    mut random: fastrand::Rng,
) -> io::Result<()> {
    let pace = Duration::from_millis(random.u64(1..20) >> random.u32(0..6));
    loop {
        let max = random.usize(1..65_536) >> random.u32(0..6);
        let bytes = from.read(max.max(1)).await?;
        if bytes.is_empty() {
            to.finish();
            return Ok(());
        }
        if clock::now() < conditions.good_from && random.u32(0..200) == 0 {
            sleep(Duration::from_millis(1 << random.u32(4..15))).await;
        }
        sleep(pace).await;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let written = to.write(rest).await?;
            rest = &rest[written..];
        }
    }
}
