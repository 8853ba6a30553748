//! A path that takes time, both ways: what lies between a laptop and AWS.
//!
//! Bytes keep their order and their speed; each arrives later by the same time. A connection
//! costs a round trip before the first byte can travel, as TCP does.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::baseline_relay::accept;

/// A proxy whose other end is far away.
#[derive(Debug)]
pub(crate) struct Distance {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Distance {
    /// `one_way` before whatever listens at `far`, now or later.
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

/// An address that nobody has right now.
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

/// One direction; an end of any kind is an end.
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
