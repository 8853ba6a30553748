//! Sends the messages of the core over one websocket.
//!
//! A websocket may block for a while, and one whose peer reads nothing blocks indefinitely, even if
//! frames are still received. So the timers of the core run while a message waits, and a websocket
//! that takes nothing for [`MAX_STALL`] is replaced.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{Sink, SinkExt};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};
use tracing::trace;

use super::error::Error;
use super::heartbeat::Heartbeat;
use super::{Inner, Shared, websocket};
use crate::clock;
use crate::proto::Transmit;

/// Sends the messages of the core, then sleeps until there may be more. The timers of the core
/// keep running while the websocket is blocked.
pub(super) async fn write_loop<S>(
    shared: &Shared,
    mut sink: S,
    heartbeat: &Heartbeat,
    max_stall: Duration,
) -> Result<(), Error>
where
    S: Sink<websocket::Message, Error = websocket::LibraryError> + Unpin,
{
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    let mut ping = None;
    loop {
        let next = drain(shared, &mut batch);
        let progress = Mutex::new(clock::now());
        let mut was_blocked = false;
        tokio::select! {
            biased;
            sent = send(&mut sink, &mut batch, ping.take(), &progress) => sent?,
            ended = wait_blocked(shared, &progress, max_stall, &mut was_blocked) => return ended,
        }
        match next {
            Next::More => {}
            // The core may have more to send by now, and its notification was received meanwhile.
            Next::At(_) if was_blocked => {}
            Next::Ended => return Ok(()),
            Next::Stale(silent) => return Err(stale(silent)),
            Next::At(deadline) => tokio::select! {
                () = shared.output_wanted() => {}
                () = sleep_until(deadline.into()) => {}
                () = next_ping(&mut pings, heartbeat) => ping = Some(websocket::ping()),
            },
        }
    }
}

/// Passes messages to the websocket. Updates `progress` whenever it takes one.
async fn send<S>(
    sink: &mut S,
    batch: &mut Vec<Transmit>,
    ping: Option<websocket::Message>,
    progress: &Mutex<Instant>,
) -> Result<(), Error>
where
    S: Sink<websocket::Message, Error = websocket::LibraryError> + Unpin,
{
    if let Some(ping) = ping {
        sink.feed(ping).await.map_err(Error::broken)?;
    }
    for transmit in batch.drain(..) {
        trace!(?transmit, "sending");
        let message = websocket::message(transmit);
        sink.feed(message).await.map_err(Error::broken)?;
        *progress.lock().unwrap_or_else(PoisonError::into_inner) = clock::now();
    }
    sink.flush().await.map_err(Error::broken)
}

/// Runs the timers of the core while the websocket is blocked, and sets `was_blocked`. Returns when
/// the tunnel has ended, or with an error when the websocket must be replaced.
async fn wait_blocked(
    shared: &Shared,
    progress: &Mutex<Instant>,
    max_stall: Duration,
    was_blocked: &mut bool,
) -> Result<(), Error> {
    *was_blocked = true;
    loop {
        let deadline = match shared.with_backpressure(run_timers) {
            // The core may be due to send until it can. That must not become a busy loop.
            Next::At(deadline) => deadline.max(clock::now() + BLOCKED_INTERVAL),
            Next::More => clock::now() + BLOCKED_INTERVAL,
            Next::Ended => return Ok(()),
            Next::Stale(silent) => return Err(stale(silent)),
        };
        let stalled = *progress.lock().unwrap_or_else(PoisonError::into_inner) + max_stall;
        if stalled <= clock::now() {
            let why = format!("no bytes could be sent for {} s", max_stall.as_secs());
            return Err(Error::Broken(why.into()));
        }
        tokio::select! {
            () = shared.output_wanted() => {}
            () = sleep_until(deadline.min(stalled).into()) => {}
        }
    }
}

fn stale(silent: Duration) -> Error {
    let why = format!(
        "no acknowledgements from the agent for {} s",
        silent.as_secs()
    );
    Error::Broken(why.into())
}

/// Waits until a ping is due: at regular intervals, and when the websocket must be tested.
async fn next_ping(pings: &mut Interval, heartbeat: &Heartbeat) {
    tokio::select! {
        _ = pings.tick() => {}
        () = heartbeat.test_wanted() => {}
    }
}

/// When the write loop must run again.
enum Next {
    /// At once.
    More,
    /// Never: the tunnel has ended.
    Ended,
    /// Never: no acknowledgements for this long, so the websocket must be replaced.
    Stale(Duration),
    /// At this time, unless notified before.
    At(Instant),
}

/// Takes the messages that can be sent now, up to a batch. Sending acknowledgements may allow more
/// input.
fn drain(shared: &Shared, batch: &mut Vec<Transmit>) -> Next {
    shared.with_backpressure(|inner| drain_core(inner, batch))
}

fn drain_core(inner: &mut Inner, batch: &mut Vec<Transmit>) -> Next {
    begin_turn(inner);
    let now = clock::now();
    let mut bytes = 0;
    while bytes < MAX_BATCH {
        let Some(transmit) = inner.core.poll_transmit(now) else {
            break;
        };
        bytes += transmit.len();
        batch.push(transmit);
    }
    if bytes >= MAX_BATCH {
        inner.dispatch();
        return Next::More;
    }
    end_turn(inner)
}

/// Runs the timers that are due, and sends nothing.
fn run_timers(inner: &mut Inner) -> Next {
    begin_turn(inner);
    end_turn(inner)
}

fn begin_turn(inner: &mut Inner) {
    let now = clock::now();
    if inner.closing && !std::mem::replace(&mut inner.is_core_closed, inner.closing) {
        inner.core.close(now);
    }
    inner.core.handle_timeout(now);
}

fn end_turn(inner: &mut Inner) -> Next {
    inner.dispatch();
    if inner.core.ended().is_some() {
        return Next::Ended;
    }
    if let Some(silent) = inner.stale.take() {
        return Next::Stale(silent);
    }
    Next::At(
        inner
            .core
            .poll_timeout()
            .unwrap_or_else(|| clock::now() + IDLE),
    )
}

/// Short enough that no proxy drops the connection (docs/protocol.md, section 2.4).
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long a websocket may take no message.
pub(super) const MAX_STALL: Duration = Duration::from_secs(45);

/// Minimum interval of polling the core while the websocket is blocked.
const BLOCKED_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes passed to the websocket before the core is polled again.
const MAX_BATCH: usize = 64 * 1024;

/// Poll interval of the core if it has no deadline.
const IDLE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use futures_util::StreamExt;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::proto::Reason;
    use crate::proto::tests::acknowledged_message;
    use crate::tunnel::tests::shared;

    fn connected() -> Arc<Shared> {
        let shared = shared();
        shared.connect(clock::now(), "token");
        shared
    }

    #[tokio::test]
    async fn a_websocket_that_takes_nothing_is_replaced_after_the_maximum_stall() {
        let shared = connected();
        let (sink, _peer) = websocket::unread().await;
        let heartbeat = Heartbeat::new();

        let writing = write_loop(&shared, sink, &heartbeat, Duration::from_millis(10));
        let outcome = tokio::time::timeout(MAX_STALL, writing).await;

        assert!(matches!(outcome, Ok(Err(Error::Broken(_)))), "{outcome:?}");
    }

    #[tokio::test]
    async fn output_that_is_queued_while_the_websocket_is_blocked_follows_at_once() {
        let shared = connected();
        let (sink, peer) = websocket::unread().await;
        let mut peer = WebSocketStream::from_raw_socket(peer, Role::Server, None).await;
        let heartbeat = Heartbeat::new();
        let acknowledge = async || {
            let received = {
                let mut inner = shared.lock();
                let message = acknowledged_message();
                inner.core.handle_message(clock::now(), message)
            };
            assert_eq!(received, Ok(()));
            shared.output_ready.notify_one();
            tokio::task::yield_now().await;
        };
        let peer = async {
            assert!(peer.next().await.unwrap().unwrap().is_text());
            assert!(peer.next().await.unwrap().unwrap().is_ping());
            // The first one blocks, since it does not fit the buffer. Then the second is queued.
            acknowledge().await;
            acknowledge().await;
            for _ in 0..2 {
                assert!(peer.next().await.unwrap().unwrap().is_binary());
            }
        };

        let writing = write_loop(&shared, sink, &heartbeat, MAX_STALL);
        let outcome = tokio::select! {
            biased;
            ended = writing => panic!("{ended:?}"),
            // Later, the next ping would send it.
            received = tokio::time::timeout(PING_INTERVAL / 2, peer) => received,
        };

        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn output_that_the_read_loop_causes_is_wanted_without_waking_the_task() {
        let shared = shared();
        let wakeups = Arc::new(Wakeups::default());
        let waker = Waker::from(Arc::clone(&wakeups));
        let mut cx = Context::from_waker(&waker);
        let mut wanted = Box::pin(shared.output_wanted());

        let before = wanted.as_mut().poll(&mut cx);
        shared.handle_input();
        let after = wanted.as_mut().poll(&mut cx);
        let again = Box::pin(shared.output_wanted()).as_mut().poll(&mut cx);

        let polls = [before, after, again].map(|poll| poll.is_ready());
        assert_eq!(polls, [false, true, false]);
        assert_eq!(wakeups.0.load(Ordering::Relaxed), 0);
    }

    #[derive(Default)]
    struct Wakeups(AtomicUsize);

    impl Wake for Wakeups {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_tunnel_closes_although_its_websocket_takes_nothing() {
        let shared = connected();
        let (sink, _peer) = websocket::unread().await;
        let heartbeat = Heartbeat::new();
        let close = async {
            tokio::task::yield_now().await;
            shared.lock().closing = true;
            shared.output_ready.notify_one();
            std::future::pending::<()>().await;
        };

        let writing = write_loop(&shared, sink, &heartbeat, MAX_STALL * 2);
        let outcome = tokio::select! {
            biased;
            outcome = tokio::time::timeout(MAX_STALL, writing) => outcome,
            () = close => unreachable!("it is pending"),
        };

        assert!(matches!(outcome, Ok(Ok(()))), "{outcome:?}");
        assert_eq!(shared.lock().core.ended(), Some(&Reason::Finished));
    }
}
