//! Flows of a bundle whose stripe is in memory, and destinations with sockets of the kernel.

mod destinations;
mod flows;

use std::time::Duration;

use tokio::io::{AsyncReadExt, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bundle::Options;
use crate::bundle::handshake::{Handshake, HandshakeDecoder};
use crate::bundle::ids::BundleId;
use crate::bundle_driver::{self, BundleHandle, Flow};

/// Both ends of a bundle with one stripe.
struct Ends {
    daemon: BundleHandle,
    relay: BundleHandle,
    _drivers: JoinSet<()>,
}

impl Ends {
    async fn new() -> Self {
        let (daemon, first) = bundle_driver::daemon(BundleId::new([1; 16]), Options::DEFAULT);
        let (relay, second) = bundle_driver::relay(Options::DEFAULT);
        let mut drivers = JoinSet::new();
        drivers.spawn(async move { drop(first.run().await) });
        drivers.spawn(async move { drop(second.run().await) });
        let (near, mut far) = duplex(64 * 1024);
        drop(daemon.connect_stripe(near).unwrap());
        let mut bytes = [0; 44];
        far.read_exact(&mut bytes).await.unwrap();
        let hello = HandshakeDecoder::default().decode(&mut &bytes[..]);
        let Ok(Some(Handshake::Hello(hello))) = hello else {
            panic!("{hello:?}");
        };
        let accepted = relay.accept_stripe(&hello, far, Vec::new());
        drop(accepted.map_err(|(class, _)| class).unwrap());
        Self {
            daemon,
            relay,
            _drivers: drivers,
        }
    }

    /// Returns the daemon's and the relay's end of a flow.
    async fn flow(&self) -> (Flow, Flow) {
        let relay = async { self.relay.next_open().await.unwrap().connected() };
        let (daemon, relay) = tokio::join!(self.daemon.open("db", 1), relay);
        (daemon.unwrap(), relay)
    }
}

/// Longer than anything takes on a busy machine.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    timeout(limit, future).await.expect("it takes too long")
}
