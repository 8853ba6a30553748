//! Transfers of the demo, with progress.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::stdout;
use super::DemoError;
use crate::clock;
use crate::quantity;
use crate::sim::{Destination, seeded_bytes};

/// Sends one small request over a new connection.
pub(super) async fn request(address: SocketAddr) -> Result<(), DemoError> {
    let begin = clock::now();
    let mut web = TcpStream::connect(address).await?;
    web.write_all(b"GET / HTTP/1.1\r\nHost: web.internal\r\nConnection: close\r\n\r\n")
        .await?;
    let mut response = vec![0; 4096];
    let len = web.read(&mut response).await?;
    let response = String::from_utf8_lossy(&response[..len]);
    let status = response.lines().next().unwrap_or_default();
    let body = response.lines().last().unwrap_or_default();
    let took = quantity::milliseconds(millis_since(begin));
    let line = format_args!("   GET / → {status}: \"{body}\"\n   in {took}");
    Ok(stdout::print_line(line)?)
}

/// Downloads `size` bytes over each of several connections at once. Returns the total rate in MiB/s.
pub(super) async fn download(
    address: SocketAddr,
    connections: u64,
    size: u64,
) -> Result<f64, DemoError> {
    let arrived = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..connections {
        readers.spawn(read(address, Arc::clone(&arrived)));
    }
    let hashes = async { readers.join_all().await.into_iter().collect() };
    let arrived = || arrived.load(Ordering::Relaxed);
    transfer(size, connections, arrived, hashes).await
}

async fn read(address: SocketAddr, arrived: Arc<AtomicU64>) -> Result<String, DemoError> {
    let mut source = TcpStream::connect(address).await?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        let len = source.read(&mut buffer).await?;
        if len == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..len]);
        arrived.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// Uploads [`SIZE`] bytes over one connection.
pub(super) async fn upload(address: SocketAddr, sink: &Destination) -> Result<(), DemoError> {
    let hashes = async {
        let mut connection = TcpStream::connect(address).await?;
        for chunk in seeded_bytes(SIZE, SEED) {
            connection.write_all(&chunk).await?;
        }
        drop(connection);
        // Written data may still be in transit.
        while sink.received().is_empty() {
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(sink
            .received()
            .into_iter()
            .map(|data| data.sha256)
            .collect())
    };
    transfer(SIZE, 1, || sink.taken(), hashes).await.map(drop)
}

/// Shows the progress of a transfer until its hashes are available: an updated line on a terminal,
/// else a line at intervals. Compares the hashes. Returns the rate in MiB/s.
async fn transfer(
    size: u64,
    connections: u64,
    arrived: impl Fn() -> u64,
    hashes: impl Future<Output = Result<Vec<String>, DemoError>>,
) -> Result<f64, DemoError> {
    let terminal = std::io::stdout().is_terminal();
    let begin = clock::now();
    let rate = || mebibytes(arrived()) / clock::since(begin).as_secs_f64();
    let total = mebibytes(connections * size);
    let mut ticks = tokio::time::interval(if terminal { INTERVAL } else { 10 * INTERVAL });
    ticks.tick().await;
    let mut hashes = std::pin::pin!(hashes);
    let hashes = loop {
        tokio::select! {
            hashes = &mut hashes => break hashes?,
            _ = ticks.tick() => {}
        }
        let done = mebibytes(arrived());
        let line = format!("   {done:.1} MiB of {total:.1} MiB, {:.2} MiB/s", rate());
        match terminal {
            true => stdout::print(format_args!("\r\x1b[K{line}"))?,
            false => stdout::print_line(line)?,
        }
    };
    if terminal {
        stdout::print("\r\x1b[K")?;
    }
    let mut hash = Sha256::new();
    seeded_bytes(size, SEED).for_each(|chunk| hash.update(chunk));
    let expected = hex::encode(hash.finalize());
    if hashes.iter().any(|hash| *hash != expected) {
        return Err("the received data differs from the sent data".into());
    }
    let (took, rate) = (quantity::milliseconds(millis_since(begin)), rate());
    stdout::print_line(format_args!(
        "   {total:.1} MiB in {took}: {rate:.2} MiB/s, hashes equal"
    ))?;
    Ok(rate)
}

fn millis_since(begin: Instant) -> u64 {
    u64::try_from(clock::since(begin).as_millis()).unwrap_or(u64::MAX)
}

/// Converts a number of bytes.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let bytes = bytes as f64;
    bytes / (1024.0 * 1024.0)
}

/// Bytes per connection, without a relay.
pub(super) const SIZE: u64 = 3 * 1024 * 1024;
/// Random seed of the data.
pub(super) const SEED: u64 = 42;

/// Interval between updates of the progress on a terminal.
const INTERVAL: Duration = Duration::from_millis(100);
