//! Both ends over streams in memory, in paused time.

mod apps;
mod compressed;
mod links;
mod random;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::bundle::Options;
use crate::bundle::event::StripeEnd;
use crate::bundle::handshake::{Hello, VERSION};
use crate::bundle::ids::BundleId;

/// A daemon's and a relay's end, and what runs their drivers.
struct Ends {
    daemon: BundleHandle,
    relay: BundleHandle,
    drivers: JoinSet<BundleEnd>,
    /// Features that the daemon offers.
    offered: u32,
}

const ID: BundleId = BundleId::new([1; 16]);

impl Ends {
    fn new(options: &Options) -> Self {
        Self::with_features(options, options.features, options.features)
    }

    /// Two ends that know different features.
    fn with_features(options: &Options, ours: u32, theirs: u32) -> Self {
        let options = |features| Options {
            features,
            ..options.clone()
        };
        let (daemon, first) = daemon(ID, options(ours));
        let (relay, second) = relay(options(theirs));
        let mut drivers = JoinSet::new();
        drivers.spawn(first.run());
        drivers.spawn(second.run());
        Self {
            daemon,
            relay,
            drivers,
            offered: ours,
        }
    }

    /// Adds a stripe. The relay's end is told what the daemon's HELLO says.
    fn connect(&self) -> (StripeHandle, StripeHandle) {
        let (ours, theirs) = duplex(4096);
        let daemon = self.daemon.connect_stripe(ours).unwrap();
        let hello = Hello {
            version: VERSION,
            features: self.offered,
            bundle: ID,
            stripe: 0,
            complete: 0,
        };
        let theirs = WithoutHello(theirs, 44);
        let accepted = self.relay.accept_stripe(&hello, theirs, Vec::new());
        (daemon, accepted.map_err(|(class, _)| class).unwrap())
    }

    async fn flow(&self) -> (Flow, Flow) {
        let relay = async { self.relay.next_open().await.unwrap().connected() };
        let (opened, relay) = tokio::join!(self.daemon.open("db", 1), relay);
        (opened.unwrap(), relay)
    }
}

/// Discards the first bytes: a HELLO.
struct WithoutHello<S>(S, usize);

impl<S: AsyncRead + Unpin> AsyncRead for WithoutHello<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.1 > 0 {
            let mut discarded = [0; 44];
            let mut part = ReadBuf::new(&mut discarded);
            let mut part = part.take(self.1);
            std::task::ready!(Pin::new(&mut self.0).poll_read(context, &mut part))?;
            self.1 -= part.filled().len();
        }
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithoutHello<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[tokio::test(start_paused = true)]
async fn a_flow_carries_bytes_and_both_ends_of_a_closed_bundle_end() {
    let mut ends = Ends::new(&Options::DEFAULT);
    let (stripe, _) = ends.connect();
    let (ours, theirs) = ends.flow().await;

    ours.write_all(b"ping").await.unwrap();
    ours.finish();
    let data = FlowRead::Data("ping".into());
    assert_eq!(theirs.read(100).await, data);
    assert_eq!(theirs.read(100).await, FlowRead::End);
    theirs.finish();
    assert_eq!(ours.read(1).await, FlowRead::End);
    assert_eq!((ours.traffic(), theirs.traffic()), ((4, 0), (0, 4)));
    drop((ours, theirs));
    ends.daemon.close();

    assert_eq!(ends.daemon.ended().await.to_string(), "closed");
    assert_eq!(ends.relay.ended().await.to_string(), "closed by the peer");
    let closed = StripeOutcome::Closed(StripeEnd::Unneeded);
    assert_eq!(stripe.ended().await, closed);
    while ends.drivers.join_next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_stripe_that_takes_no_bytes_is_closed_nevertheless() {
    let ends = Ends::new(&Options::DEFAULT);
    let (stuck, _unread) = duplex(100);
    let stripe = ends.daemon.connect_stripe(stuck).unwrap();

    let outcome = timeout(Duration::from_secs(10), stripe.ended()).await;

    let silent = StripeOutcome::Closed(StripeEnd::NoWelcome);
    assert_eq!(outcome.unwrap(), silent);
    assert_eq!(ends.daemon.status().stripes, []);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_driver_resets_its_flows_and_ends_its_stripes() {
    let mut ends = Ends::new(&Options::DEFAULT);
    let (stripe, _) = ends.connect();
    let (ours, theirs) = ends.flow().await;
    let waiting = ends.daemon.wait_for_demand(0);

    ends.drivers.shutdown().await;

    assert_eq!(ours.read(1).await, FlowRead::Reset);
    assert_eq!(theirs.write(b"x").await, Err(FlowClosed));
    assert_eq!(ends.daemon.end(), Some(BundleEnd::Internal));
    assert_eq!(waiting.await, None);
    assert!(ends.relay.next_open().await.is_none());
    drop(stripe.ended().await);
    assert!(ends.daemon.open("db", 1).await.is_err());
    assert!(ends.daemon.connect_stripe(duplex(1).0).is_none());
}

/// A byte stream whose code panics.
struct Panicking;

impl AsyncRead for Panicking {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("injected")
    }
}

impl AsyncWrite for Panicking {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_byte_stream_loses_that_stripe_only() {
    let ends = Ends::new(&Options::DEFAULT);
    let (_first, _) = ends.connect();
    let (ours, theirs) = ends.flow().await;

    let stripe = ends.daemon.connect_stripe(Panicking).unwrap();
    assert!(matches!(stripe.ended().await, StripeOutcome::Lost(_)));

    ours.write_all(b"x").await.unwrap();
    assert_eq!(theirs.read(1).await, FlowRead::Data("x".into()));
}

#[tokio::test(start_paused = true)]
async fn a_panic_under_the_lock_ends_the_bundle() {
    let mut ends = Ends::new(&Options::DEFAULT);
    let (_first, _) = ends.connect();
    let (ours, _theirs) = ends.flow().await;

    let (daemon, mut tasks) = (ends.daemon.clone(), JoinSet::new());
    tasks.spawn(async move { daemon.panic_under_lock() });
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());

    assert_eq!(ours.read(1).await, FlowRead::Reset);
    assert_eq!(ends.daemon.ended().await, BundleEnd::Internal);
    drop(ends.drivers.join_next().await);
}

#[tokio::test(start_paused = true)]
async fn an_open_that_is_given_up_resets_the_flow() {
    let ends = Ends::new(&Options::DEFAULT);
    let (_first, _) = ends.connect();

    let opening = timeout(Duration::from_secs(1), ends.daemon.open("db", 1));
    let (gone, incoming) = tokio::join!(opening, ends.relay.next_open());

    assert!(gone.is_err());
    incoming.unwrap().aborted().await;
    assert_eq!(ends.daemon.status().flows, 0);
}

#[tokio::test(start_paused = true)]
async fn demand_follows_the_stripes() {
    let options = Options {
        min_stripes: 2,
        ..Options::DEFAULT
    };
    let ends = Ends::new(&options);

    assert_eq!(ends.daemon.wait_for_demand(0).await, Some(2));
    let (first, _) = ends.connect();
    assert_eq!(ends.daemon.wait_for_demand(0).await, Some(1));
    let waiting = timeout(Duration::from_secs(3), ends.daemon.wait_for_demand(1)).await;
    assert!(waiting.is_err());
    ends.connect();
    let waiting = timeout(Duration::from_secs(3), ends.daemon.wait_for_demand(0)).await;
    assert!(waiting.is_err());

    ends.daemon.close();
    assert_eq!(ends.daemon.wait_for_demand(0).await, None);
    drop(first);
}
