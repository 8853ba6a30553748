//! Liveness of one websocket.
//!
//! ```text
//!   any frame, also a pong   the websocket is alive; it is broken if none arrives for 45 s
//!   a pong during a test     it is alive; other frames may have been on their way before
//!   a message                the session uses this websocket: the token was accepted
//! ```

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use tracing::info;

use super::Shared;
use super::error::Error;
use super::trigger::TriggerReceiver;
use crate::clock;

/// What was received on a websocket since it was opened.
#[derive(Debug)]
pub(super) struct Heartbeat {
    begin: Instant,
    deadline: Mutex<Deadline>,
    /// The deadline was moved to an earlier time.
    moved: Notify,
    /// It must be tested by a ping now.
    tested: Notify,
    received: AtomicBool,
    first_received: Notify,
}

impl Heartbeat {
    /// Creates the state of a websocket that was just opened.
    pub(super) fn new() -> Self {
        let begin = clock::now();
        Self {
            begin,
            deadline: Mutex::new(Deadline {
                at: begin + MAX_SILENCE,
                in_flight_until: begin,
            }),
            moved: Notify::new(),
            tested: Notify::new(),
            received: AtomicBool::new(false),
            first_received: Notify::new(),
        }
    }

    /// A frame was received. Shortly after the begin of a test it does not count: it may have been
    /// received before a suspend, or sent before a cut.
    pub(super) fn record_frame(&self) {
        if clock::now() >= self.deadline().in_flight_until {
            self.set(MAX_SILENCE);
        }
    }

    /// A pong was received, or input was paused.
    pub(super) fn record_pong(&self) {
        self.set(MAX_SILENCE);
    }

    /// A message was received.
    pub(super) fn record_message(&self) {
        if !self.received.swap(true, Ordering::Relaxed) {
            self.first_received.notify_one();
        }
    }

    /// Waits until the websocket must be tested by a ping.
    pub(super) async fn test_wanted(&self) {
        self.tested.notified().await;
    }

    /// Returns true if the session uses this websocket. An upgrade alone does not show that the
    /// token is valid: Session Manager may just close (docs/protocol.md, section 2.2).
    fn is_confirmed(&self, now: Instant) -> bool {
        self.received.load(Ordering::Relaxed) || self.age(now) >= CONFIRM_AFTER
    }

    /// Returns true if the websocket was confirmed and lived for some time, so that the next one
    /// may be dialled at once.
    pub(super) fn is_stable(&self, now: Instant) -> bool {
        self.is_confirmed(now) && self.age(now) >= SHORT_LIFE
    }

    /// Returns how long the websocket has been open.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begin)
    }

    /// Returns when no frame, not even a pong, arrived before the deadline. The deadline is
    /// suspended while unread stream data pauses the input, but not while unsent acknowledgements
    /// do: then the websocket takes nothing.
    pub(super) async fn watch(&self, shared: &Shared) -> Error {
        loop {
            tokio::select! {
                () = sleep_until(self.deadline().at.into()) => {}
                () = self.moved.notified() => continue,
            }
            if shared.lock().core.is_full() {
                self.record_pong();
            }
            if self.deadline().at <= clock::now() {
                return Error::Broken("no message or pong received in time".into());
            }
        }
    }

    /// After each trigger, sends a ping and requires a pong, or a frame that was not on its way
    /// before, within [`TEST_TIMEOUT`].
    pub(super) async fn test_when_triggered<T>(&self, triggered: &mut TriggerReceiver) -> T {
        loop {
            triggered.triggered().await;
            self.begin_test();
            self.tested.notify_one();
        }
    }

    /// Reports the tunnel as resumed, after `outage` if there was one: with the first message on
    /// the new websocket, or after [`CONFIRM_AFTER`]. The upgrade alone does not show that the
    /// token is valid.
    pub(super) async fn report_when_confirmed<T>(
        &self,
        shared: &Shared,
        outage: Option<Instant>,
    ) -> T {
        if let Some(begin) = outage {
            drop(timeout(CONFIRM_AFTER, self.first_received.notified()).await);
            shared.lock().mark_resumed();
            info!(after = ?clock::since(begin), "session resumed");
        }
        pending().await
    }

    fn begin_test(&self) {
        let in_flight_until = clock::now() + IN_FLIGHT;
        self.lock().in_flight_until = in_flight_until;
        self.set(TEST_TIMEOUT);
    }

    fn set(&self, time: Duration) {
        let next = clock::now() + time;
        let mut deadline = self.lock();
        let is_earlier = next < deadline.at;
        deadline.at = next;
        drop(deadline);
        #[cfg(test)]
        let is_earlier = is_earlier && !crate::mutants::Mutant::SilentDeadline.is_active();
        if is_earlier {
            self.moved.notify_one();
        }
    }

    fn deadline(&self) -> Deadline {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Deadline> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a websocket is considered broken.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    /// Unless a frame arrives before.
    at: Instant,
    /// Until then, only a pong counts.
    in_flight_until: Instant,
}

/// Two ping intervals and a margin.
const MAX_SILENCE: Duration = Duration::from_secs(45);

/// Timeout of a test.
const TEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long frames may arrive that were sent before a test. A busy websocket passes the test by the
/// frames after it, as its pong is behind them.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// A websocket that broke sooner is unstable, whatever it carried.
const SHORT_LIFE: Duration = Duration::from_secs(5);

/// A websocket without a message is confirmed after this time: an idle agent sends no messages.
const CONFIRM_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tests::acknowledged_message;
    use crate::tunnel::tests::shared;
    use crate::tunnel::{Phase, State};

    #[tokio::test]
    async fn a_tunnel_is_resumed_by_the_first_message_and_not_by_the_upgrade() {
        let (heartbeat, shared) = (Heartbeat::new(), shared());
        shared.lock().phase.send_replace(Phase::Disconnected);
        let state = || State::of(&shared.lock().phase.borrow());
        shared.connect(clock::now(), "token");
        let mut reporting =
            std::pin::pin!(heartbeat.report_when_confirmed::<()>(&shared, Some(clock::now())));
        let mut poll_once = async || {
            tokio::select! {
                biased;
                () = &mut reporting => unreachable!("it is pending"),
                () = tokio::task::yield_now() => {}
            }
        };

        poll_once().await;
        assert_eq!(state(), State::Disconnected);
        heartbeat.record_message();
        poll_once().await;

        assert_eq!(state(), State::Ready);
    }

    #[test]
    fn a_websocket_is_stable_once_it_was_tested_and_lived_for_some_time() {
        let heartbeat = Heartbeat::new();
        let begin = heartbeat.begin;
        assert!(
            !heartbeat.is_stable(begin + SHORT_LIFE),
            "no message was received"
        );
        assert!(heartbeat.is_stable(begin + CONFIRM_AFTER));
        heartbeat.record_message();
        assert!(!heartbeat.is_stable(begin + SHORT_LIFE / 2));
        assert!(heartbeat.is_stable(begin + SHORT_LIFE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_test_is_passed_by_a_pong_or_by_frames_that_were_not_on_their_way() {
        let heartbeat = Heartbeat::new();
        let left = || heartbeat.deadline().at - clock::now();

        heartbeat.begin_test();
        heartbeat.record_frame();
        assert_eq!(left(), TEST_TIMEOUT);
        heartbeat.record_pong();
        assert_eq!(left(), MAX_SILENCE);

        heartbeat.begin_test();
        tokio::time::advance(IN_FLIGHT).await;
        assert_eq!(left(), TEST_TIMEOUT - IN_FLIGHT);
        heartbeat.record_frame();
        assert_eq!(left(), MAX_SILENCE);
    }

    #[tokio::test]
    async fn the_deadline_is_not_suspended_while_acknowledgements_wait() {
        let (heartbeat, shared) = (Heartbeat::new(), shared());
        shared.connect(clock::now(), "token");
        {
            let mut inner = shared.lock();
            while inner.core.wants_input() {
                inner
                    .core
                    .handle_message(clock::now(), acknowledged_message())
                    .unwrap();
            }
            assert!(!inner.core.is_full());
        }

        heartbeat.set(Duration::from_millis(1));

        let ended = timeout(MAX_SILENCE / 2, heartbeat.watch(&shared)).await;
        assert!(matches!(ended, Ok(Error::Broken(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn a_deadline_that_is_moved_to_an_earlier_time_is_kept() {
        let (heartbeat, shared) = (Heartbeat::new(), shared());
        let watching = heartbeat.watch(&shared);
        let mut watching = std::pin::pin!(watching);
        // Polled once, it sleeps until the first deadline.
        tokio::select! {
            biased;
            error = &mut watching => panic!("{error}"),
            () = tokio::task::yield_now() => {}
        }

        heartbeat.set(Duration::from_millis(1));

        // The first deadline is later than this.
        let ended = timeout(MAX_SILENCE / 2, watching).await;
        assert!(ended.is_ok());
    }
}
