//! Transfers of the demo, with progress and rates.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::stdout::{self, StdoutClosed};
use super::Failure;
use crate::clock;
use crate::sim::{Destination, seeded};

/// Sends one small request over a new connection.
pub(super) async fn request(address: SocketAddr) -> Result<(), Failure> {
    let begin = clock::now();
    let mut web = TcpStream::connect(address).await?;
    web.write_all(b"GET / HTTP/1.1\r\nHost: web.internal\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = vec![0; 4096];
    let len = web.read(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer[..len]);
    let (first, last) = (answer.lines().next(), answer.lines().last());
    stdout::line(format_args!(
        "   GET / → {}: \"{}\"",
        first.unwrap_or_default(),
        last.unwrap_or_default()
    ))?;
    let took = clock::since(begin).as_secs_f64() * 1000.0;
    let line = format_args!("   in {took:.0} ms");
    Ok(stdout::line(line)?)
}

/// Downloads over several connections at once. Returns the total rate in MiB/s.
pub(super) async fn down(address: SocketAddr, connections: u64) -> Result<f64, Failure> {
    let read_so_far = Arc::new(AtomicU64::new(0));
    let progress = Progress::new(connections * SIZE, || read_so_far.load(Ordering::Relaxed));
    let mut readers = JoinSet::new();
    for _ in 0..connections {
        readers.spawn(read(address, Arc::clone(&read_so_far)));
    }
    let hashes = progress.watch(readers.join_all()).await?;
    let expected = hash_of_source();
    for hash in hashes {
        if hash? != expected {
            return Err("the received data differs from the sent data".into());
        }
    }
    Ok(progress.conclude()?)
}

async fn read(address: SocketAddr, so_far: Arc<AtomicU64>) -> Result<[u8; 32], Failure> {
    let mut source = TcpStream::connect(address).await?;
    let mut buffer = vec![0; 64 * 1024];
    let mut hash = Sha256::new();
    loop {
        let len = source.read(&mut buffer).await?;
        if len == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..len]);
        so_far.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// Uploads over one connection, and compares the hash computed by the destination.
pub(super) async fn up(address: SocketAddr, sink: &Destination) -> Result<f64, Failure> {
    let progress = Progress::new(SIZE, || sink.taken());
    progress.watch(deliver(address, sink)).await??;
    let expected: String = hash_of_source()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match sink
        .received()
        .last()
        .is_some_and(|received| received.sha256 == expected)
    {
        true => Ok(progress.conclude()?),
        false => Err("the received data differs from the sent data".into()),
    }
}

/// Writes all data and waits until the destination has received the end: written data may still be
/// in transit.
async fn deliver(address: SocketAddr, sink: &Destination) -> Result<(), Failure> {
    let mut connection = TcpStream::connect(address).await?;
    for chunk in seeded(SIZE, SEED) {
        connection.write_all(&chunk).await?;
    }
    drop(connection);
    while sink.received().is_empty() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn hash_of_source() -> [u8; 32] {
    let mut hash = Sha256::new();
    for chunk in seeded(SIZE, SEED) {
        hash.update(chunk);
    }
    hash.finalize().into()
}

/// Progress of a transfer, by bytes that have arrived.
struct Progress<D> {
    total: u64,
    arrived: D,
    begin: Instant,
}

impl<D: Fn() -> u64> Progress<D> {
    fn new(total: u64, arrived: D) -> Self {
        Self {
            total,
            arrived,
            begin: clock::now(),
        }
    }

    /// Shows progress until `work` is done: an updated line on a terminal, else a line at
    /// intervals.
    async fn watch<T>(&self, work: impl Future<Output = T>) -> Result<T, StdoutClosed> {
        let terminal = std::io::stdout().is_terminal();
        let mut ticks = tokio::time::interval(if terminal {
            POLL_INTERVAL
        } else {
            10 * POLL_INTERVAL
        });
        ticks.tick().await;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => {
                    if terminal {
                        stdout::part("\r\x1b[K")?;
                    }
                    return Ok(outcome);
                }
                _ = ticks.tick() => self.show(terminal)?,
            }
        }
    }

    fn show(&self, terminal: bool) -> Result<(), StdoutClosed> {
        let (arrived, total) = (words((self.arrived)()), words(self.total));
        let line = format!("   {arrived} of {total}, {:.2} MiB/s", self.rate());
        match terminal {
            true => stdout::part(format_args!("\r\x1b[K{line}")),
            false => stdout::line(line),
        }
    }

    /// Prints and returns the rate in MiB/s.
    fn conclude(&self) -> Result<f64, StdoutClosed> {
        let (seconds, rate) = (clock::since(self.begin).as_secs_f64(), self.rate());
        let total = words(self.total);
        stdout::line(format_args!(
            "   {total} in {seconds:.1} s: {rate:.2} MiB/s, hashes equal"
        ))?;
        Ok(rate)
    }

    fn rate(&self) -> f64 {
        mebibytes((self.arrived)()) / clock::since(self.begin).as_secs_f64()
    }
}

/// Formats a size for display.
pub(super) fn words(bytes: u64) -> String {
    format!("{:.1} MiB", mebibytes(bytes))
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let bytes = bytes as f64;
    bytes / (1024.0 * 1024.0)
}

/// Bytes per connection.
pub(super) const SIZE: u64 = 3 * 1024 * 1024;
/// Seed of the data.
pub(super) const SEED: u64 = 42;
/// Number of concurrent connections.
pub(super) const CONNECTIONS: u64 = 8;

/// Interval between progress updates.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
