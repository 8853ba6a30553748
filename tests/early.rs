//! Early messages and the pool that tunnels share for them.

use std::time::{Duration, Instant, SystemTime};

use ssm_proxyd::proto::{MAX_UNREAD_OF_TUNNEL, Read, ReorderBudget, StreamId, Tunnel};
use ssm_proxyd::wire::message::MessageType;
use ssm_proxyd::wire::smux::Command;

use crate::support::message_builder;
use crate::support::pair::start_time;
use crate::support::pair_options::PairOptions;

/// How the owner treats unread bytes.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Read,
    Reset,
    /// The owner closes the stream and asks for the outcome of its upload.
    Leave,
    /// The tunnel ends, and then the bytes are read.
    EndAndRead,
    /// The tunnel is dropped.
    Drop,
}

#[test]
fn early_messages_use_the_pool_until_the_bytes_of_a_closed_gap_are_read_or_dropped() {
    for outcome in [
        Outcome::Read,
        Outcome::Reset,
        Outcome::Leave,
        Outcome::EndAndRead,
        Outcome::Drop,
    ] {
        let pool = ReorderBudget::new();
        let (mut tunnel, stream) = established(&pool);
        let block = vec![7; 60_000];
        let bytes = message_builder::frames(&[(Command::Psh, stream, &block)]);
        let count = 16 * MIB / block.len();
        for number in 0..count {
            let message = message_builder::output(3 + number as u64, &bytes);
            tunnel.handle_message(later(), message).unwrap();
        }
        let early = pool.taken();
        assert!(early > 15 * MIB, "{early} bytes");

        let message = message_builder::output(2, &bytes);
        tunnel.handle_message(later(), message).unwrap();

        assert!(!tunnel.wants_input());
        let released = pool.taken();
        assert!(released > 15 * MIB, "{released} bytes, {outcome:?}");
        let mut read = 0;
        match outcome {
            Outcome::Read => read = read_all(&mut tunnel, stream, &pool),
            Outcome::Reset => tunnel.reset(stream),
            Outcome::Leave => tunnel.leave(stream),
            Outcome::EndAndRead => {
                tunnel.abandon("a test");
                assert_eq!(pool.taken(), released, "the bytes can still be read");
                read = read_all(&mut tunnel, stream, &pool);
            }
            Outcome::Drop => drop(tunnel),
        }
        assert_eq!(pool.taken(), 0, "{outcome:?}");
        if matches!(outcome, Outcome::Read | Outcome::EndAndRead) {
            assert_eq!(read, (count + 1) * block.len());
        }
    }
}

#[test]
fn early_messages_that_are_read_at_once_use_nothing_of_the_pool() {
    let pool = ReorderBudget::new();
    let (mut tunnel, stream) = established(&pool);
    let bytes = message_builder::frames(&[(Command::Psh, stream, b"early")]);

    for seq in [3, 2] {
        let message = message_builder::output(seq, &bytes);
        tunnel.handle_message(later(), message).unwrap();
    }

    assert_eq!(pool.taken(), 0);
}

/// Reads what has arrived. The pool never counts less than what exceeds the bound.
fn read_all(tunnel: &mut Tunnel, stream: StreamId, pool: &ReorderBudget) -> usize {
    let all = usize::try_from(tunnel.stats().bytes_received).unwrap();
    let mut read = 0;
    while let Read::Data(chunk) = tunnel.read(stream, 100_000) {
        read += chunk.len();
        let beyond = (all - read).saturating_sub(MAX_UNREAD_OF_TUNNEL);
        assert!(pool.taken() >= beyond, "{} of {beyond}", pool.taken());
    }
    read
}

/// A tunnel whose agent is ready, and its first stream.
fn established(pool: &ReorderBudget) -> (Tunnel, StreamId) {
    let (now, options) = (start_time(), PairOptions::default().options);
    let tunnel = Tunnel::new(now, SystemTime::UNIX_EPOCH, 1, options);
    let mut tunnel = tunnel.sharing(pool.clone());
    tunnel.handle_connected(now, "token");
    for message in [
        message_builder::handshake_request(0, "3.3.987.0", ""),
        message_builder::handshake_complete(1, ""),
    ] {
        tunnel.handle_message(now, message).unwrap();
        while tunnel.poll_transmit(now).is_some() {}
    }
    tunnel
        .handle_message(now, message_builder::acknowledge(&MessageType::Input, 0))
        .unwrap();
    tunnel
        .handle_message(now, message_builder::acknowledge(&MessageType::Input, 2))
        .unwrap();
    tunnel.handle_timeout(later());
    while tunnel.poll_transmit(later()).is_some() {}
    tunnel
        .handle_message(
            later(),
            message_builder::acknowledge(&MessageType::Input, 1),
        )
        .unwrap();
    let stream = tunnel.open().unwrap();
    (tunnel, stream)
}

/// The time at which the agent is ready.
fn later() -> Instant {
    start_time() + Duration::from_secs(1)
}

const MIB: usize = 1 << 20;
