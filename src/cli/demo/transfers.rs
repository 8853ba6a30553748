//! What the demo carries through its tunnels, with progress and rates.

#![expect(clippy::print_stdout, reason = "the demo is its output")]
#![expect(clippy::disallowed_methods, reason = "the demo measures time")]

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Failure;
use crate::sim::{Destination, seeded};

/// One small request over a fresh connection.
pub(super) async fn request(address: SocketAddr) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut web = TcpStream::connect(address).await?;
    web.write_all(b"GET / HTTP/1.1\r\nHost: web.internal\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = vec![0; 4096];
    let len = web.read(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer[..len]);
    let (first, last) = (answer.lines().next(), answer.lines().last());
    println!(
        "   GET / → {}: \"{}\"",
        first.unwrap_or_default(),
        last.unwrap_or_default()
    );
    println!(
        "   in {:.0} ms, all of them on this machine",
        begin.elapsed().as_secs_f64() * 1000.0
    );
    Ok(())
}

/// Reads everything over several connections at once. Returns MiB/s, together.
pub(super) async fn down(address: SocketAddr, connections: u64) -> Result<f64, Failure> {
    let progress = Arc::new(Progress::new(connections * SIZE));
    let mut readers = JoinSet::new();
    for _ in 0..connections {
        readers.spawn(read(address, Arc::clone(&progress)));
    }
    let hashes = progress.watch(async { readers.join_all().await }).await;
    let expected = hash_of_source();
    for hash in hashes {
        if hash? != expected {
            return Err("the bytes that came are not the bytes that were sent".into());
        }
    }
    Ok(progress.conclude())
}

async fn read(address: SocketAddr, progress: Arc<Progress>) -> Result<[u8; 32], Failure> {
    let mut source = TcpStream::connect(address).await?;
    let mut buffer = vec![0; 64 * 1024];
    let mut hash = Sha256::new();
    loop {
        let len = source.read(&mut buffer).await?;
        if len == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..len]);
        progress.add(len);
    }
}

/// Sends everything over one connection, and asks the destination for its hash.
pub(super) async fn up(address: SocketAddr, sink: &Destination) -> Result<f64, Failure> {
    let progress = Progress::new(SIZE);
    let written = progress.watch(write(address, &progress)).await;
    written?;
    while sink.received().is_empty() {
        tokio::time::sleep(LOOK).await;
    }
    let expected: String = hash_of_source()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match sink
        .received()
        .last()
        .is_some_and(|received| received.sha256 == expected)
    {
        true => Ok(progress.conclude()),
        false => Err("the bytes that arrived are not the bytes that were sent".into()),
    }
}

async fn write(address: SocketAddr, progress: &Progress) -> Result<(), Failure> {
    let mut sink = TcpStream::connect(address).await?;
    for chunk in seeded(SIZE, SEED) {
        for piece in chunk.chunks(16 * 1024) {
            sink.write_all(piece).await?;
            progress.add(piece.len());
        }
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

/// How far a transfer is.
struct Progress {
    total: u64,
    done: AtomicU64,
    begin: Instant,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self {
            total,
            done: AtomicU64::new(0),
            begin: Instant::now(),
        }
    }

    fn add(&self, len: usize) {
        self.done.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Shows progress until `work` is done: a living line on a terminal, else a line now and then.
    async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        let terminal = std::io::stdout().is_terminal();
        let mut ticks = tokio::time::interval(if terminal { LOOK } else { 10 * LOOK });
        ticks.tick().await;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => {
                    if terminal { print!("\r\x1b[K"); }
                    return outcome;
                }
                _ = ticks.tick() => self.show(terminal),
            }
        }
    }

    fn show(&self, terminal: bool) {
        let done = self.done.load(Ordering::Relaxed);
        let line = format!(
            "   {} of {}, {:.2} MiB/s",
            words(done),
            words(self.total),
            self.rate()
        );
        if terminal {
            print!("\r\x1b[K{line}");
            drop(std::io::stdout().flush());
        } else {
            println!("{line}");
        }
    }

    fn conclude(&self) -> f64 {
        let seconds = self.begin.elapsed().as_secs_f64();
        println!(
            "   {} in {seconds:.1} s: {:.2} MiB/s, hash equal",
            words(self.total),
            self.rate()
        );
        self.rate()
    }

    fn rate(&self) -> f64 {
        let done = self.done.load(Ordering::Relaxed);
        mebibytes(done) / self.begin.elapsed().as_secs_f64()
    }
}

/// A size for a person.
pub(super) fn words(bytes: u64) -> String {
    format!("{:.1} MiB", mebibytes(bytes))
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let bytes = bytes as f64;
    bytes / (1024.0 * 1024.0)
}

/// What one connection carries.
pub(super) const SIZE: u64 = 3 * 1024 * 1024;
/// Which bytes.
pub(super) const SEED: u64 = 42;
/// How many connections run at once.
pub(super) const CONNECTIONS: u64 = 8;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);
