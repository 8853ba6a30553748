//! Transfers of bytes and their hashes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ssm_proxyd::sim::seeded_bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const MIB: u64 = 1024 * 1024;

/// Connects, sends `data` and reads as many bytes.
pub(crate) async fn request(address: SocketAddr, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(address).await?;
    exchange(&mut client, data).await
}

/// Retries until it is answered, for a minute at most: the first connections may be refused.
pub(crate) async fn request_until_served(address: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut last = None;
    for _ in 0..600 {
        match request(address, data).await {
            Ok(answer) => return answer,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not served: {last:?}");
}

/// Sends `data` and reads as many bytes, on an open connection.
pub(crate) async fn exchange(client: &mut TcpStream, data: &[u8]) -> io::Result<Vec<u8>> {
    client.write_all(data).await?;
    let mut answer = vec![0; data.len()];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Closes with a reset.
pub(crate) fn abort(client: TcpStream) {
    client.set_zero_linger().unwrap();
    drop(client);
}

/// Sends `data` and reads to the end.
pub(crate) async fn read_end(address: SocketAddr, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(address).await?;
    client.write_all(data).await?;
    let mut received = Vec::new();
    let reading = client.read_to_end(&mut received);
    tokio::time::timeout(TIMEOUT, reading).await??;
    Ok(received)
}

/// The maximum time until the end of a connection.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Reads to the end.
pub(crate) async fn read_hash(address: SocketAddr) -> io::Result<String> {
    let mut client = TcpStream::connect(address).await?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 65_536]);
    loop {
        let len = client.read(&mut buffer).await?;
        if len == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..len]);
    }
}

/// Sends seeded bytes and closes.
pub(crate) async fn send(address: SocketAddr, len: u64, seed: u64) -> io::Result<()> {
    let mut client = TcpStream::connect(address).await?;
    for chunk in seeded_bytes(len, seed) {
        client.write_all(&chunk).await?;
    }
    Ok(())
}

/// The hash of seeded bytes.
pub(crate) fn hash_of(len: u64, seed: u64) -> String {
    let mut hash = Sha256::new();
    for chunk in seeded_bytes(len, seed) {
        hash.update(chunk);
    }
    hex::encode(hash.finalize())
}
