//! What passes between a flow and the socket of its destination.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::{Ends, in_time};
use crate::relay::flow_task::{Outcome, copy_both};
use crate::relay::metrics::Metrics;
use crate::relay::socket::Socket;

/// The relay's end of a connection to a destination, and the destination.
fn connected() -> (Socket, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Socket::Unix(near), far)
}

/// Writes until nothing is taken for a while. Returns how many bytes were.
async fn fill(mut destination: &std::os::unix::net::UnixStream) -> usize {
    let (mut taken, mut refused) = (0, 0);
    while refused < 50 {
        match destination.write(&[7; 4096]) {
            Ok(len) => (taken, refused) = (taken + len, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
            Err(error) => panic!("{error}"),
        }
        sleep(Duration::from_millis(1)).await;
    }
    taken
}

#[tokio::test]
async fn nothing_is_read_from_a_destination_that_the_flow_does_not_take() {
    let ends = Ends::new().await;
    let (_ours, theirs) = ends.flow().await;
    let (socket, far) = connected();
    let far = far.into_std().unwrap();
    let metrics = Metrics::default();

    let written = tokio::select! {
        outcome = copy_both(&theirs, &socket, &metrics) => panic!("{outcome:?}"),
        written = fill(&far) => written,
    };

    let (taken, _) = theirs.traffic();
    let mut unread = 0;
    while let Some(bytes) = socket.try_read(65536).unwrap() {
        unread += bytes.len();
    }
    assert_eq!(usize::try_from(taken).unwrap() + unread, written);
}

#[tokio::test]
async fn a_destination_that_takes_nothing_and_is_silent_ends_with_its_flow() {
    let ends = Ends::new().await;
    let (ours, theirs) = ends.flow().await;
    let (socket, far) = connected();
    SockRef::from(&far).shutdown(Shutdown::Read).unwrap();

    let daemon = async {
        ours.write_all(b"not taken").await.unwrap();
        // It reads and writes at once.
        while theirs.traffic().1 < 9 {
            sleep(Duration::from_millis(1)).await;
        }
        ours.reset();
        std::future::pending::<Outcome>().await
    };
    let metrics = Metrics::default();
    let copying = copy_both(&theirs, &socket, &metrics);
    let outcome = tokio::select! {
        outcome = in_time(copying) => outcome,
        outcome = daemon => outcome,
    };

    assert_eq!(outcome, Outcome::ResetByDaemon);
}
