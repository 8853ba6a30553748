//! Thirty-two connections at once, whose websockets break while bytes travel both ways.

use sha2::{Digest, Sha256};
use ssm_proxyd::sim::{DisconnectKind, Options, seeded_bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::in_process::{InProcess, broken_every};
use crate::support::transfer::MIB;

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_transfers_both_ways_complete_while_their_websockets_break() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = Options {
        faults: broken_every(2000, DisconnectKind::Fin),
        ..Options::default()
    };
    let fixture = InProcess::new(options, &format!("remote = {port}")).await;
    let address = fixture.address();
    let mut ends = JoinSet::new();

    for seed in 0..CLIENTS {
        ends.spawn(async move { request(TcpStream::connect(address).await.unwrap(), seed).await });
    }
    for _ in 0..CLIENTS {
        let (connection, _) = listener.accept().await.unwrap();
        ends.spawn(answer(connection));
    }
    ends.join_all().await;

    let ledger = fixture.end().await;
    assert_eq!(ledger.started, CLIENTS);
    for session in &ledger.sessions {
        // More than 2060 messages at 900 a second, with a burst of 45, take longer than 2 s.
        assert!(
            session.attached >= 2,
            "the websocket must break: {session:#?}"
        );
        assert!(session.lost >= 1, "the websocket must break: {session:#?}");
    }
}

/// Sends 2 MiB and reads the response to its end.
async fn request(mut client: TcpStream, seed: u64) {
    let question: Vec<_> = seeded_bytes(LEN, seed).flatten().collect();
    let mut expected: Vec<_> = question.iter().copied().step_by(4).collect();
    expected.extend(Sha256::digest(&question));
    let mut received = Vec::new();
    let (mut reader, mut writer) = client.split();

    let (sent, read) = tokio::join!(
        writer.write_all(&question),
        reader.read_to_end(&mut received)
    );

    sent.unwrap();
    read.unwrap();
    assert_eq!(received.len(), expected.len(), "connection {seed}");
    assert!(received == expected, "connection {seed}");
}

/// Returns every fourth byte while others arrive, 512 KiB in total, then the hash of everything.
async fn answer(mut connection: TcpStream) {
    let (mut hash, mut block) = (Sha256::new(), vec![0; BLOCK]);
    for _ in 0..LEN / BLOCK as u64 {
        connection.read_exact(&mut block).await.unwrap();
        hash.update(&block);
        let part: Vec<_> = block.iter().copied().step_by(4).collect();
        connection.write_all(&part).await.unwrap();
    }
    connection.write_all(&hash.finalize()).await.unwrap();
}

const CLIENTS: u64 = 32;
const LEN: u64 = 2 * MIB;

/// Bytes that are read before the next part of the response.
const BLOCK: usize = 16 * 1024;
