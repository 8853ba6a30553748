//! A path with latency in both directions, like the one between a laptop and AWS.
//!
//! Bytes keep their order and their speed; each arrives later by the same time. A new connection
//! costs a round trip before the first byte, like TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::baseline_relay::accept;

/// A proxy with a delay before its other end.
#[derive(Debug)]
pub(crate) struct Distance {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Distance {
    /// A delay of `one_way` to the listener at `far`, present or future.
    pub(crate) async fn start(far: SocketAddr, one_way: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, move |near| connect(near, far, one_way)));
        Self {
            address,
            _tasks: tasks,
        }
    }
}

/// A free address.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

async fn connect(near: TcpStream, far: SocketAddr, one_way: Duration) {
    tokio::time::sleep(2 * one_way).await;
    let far = TcpStream::connect(far).await.unwrap();
    far.set_nodelay(true).unwrap();
    let (near, far) = (near.into_split(), far.into_split());
    tokio::join!(
        travel(near.0, far.1, one_way),
        travel(far.0, near.1, one_way)
    );
}

/// One direction; any error or end is an end.
async fn travel(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, one_way: Duration) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = from.read(&mut buffer).await {
            let arrival = Instant::now() + one_way;
            if sender.send((arrival, buffer[..len].to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((arrival, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(arrival.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
