//! May something be missing behind the last message that came?
//!
//! An agent closes when all is acknowledged, or two seconds after its destination ended. What a
//! broken websocket has swallowed comes again one message at a time, so an end may overtake it, and
//! no gap shows that: what is missing is the tail. So after a resume the tail is in doubt, until a
//! message comes that was sent on the new websocket, or nothing old has come for longer than an
//! agent drains (protocol.md sections 6.3 and 9.3).
//!
//! ```text
//!   sent      1 2 3 4 5 ╳ websocket                 6
//!   came      1 2           3 … 4 … channel_closed?  └ 6 closes the doubt, once 5 has come
//! ```

use std::time::{Duration, Instant};

/// The doubt about the tail of what an agent said.
#[derive(Debug, Default)]
pub(super) struct Remainder {
    /// A moment, and what the agent's clock said when it spoke that we heard then, in milliseconds.
    anchor: Option<(Instant, u64)>,
    /// There was a websocket before.
    is_opened: bool,
    /// When the newest websocket opened that is not the first.
    resumed: Option<Instant>,
    /// Until when the tail is in doubt.
    doubt: Option<Instant>,
}

impl Remainder {
    /// A websocket is open.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        if std::mem::replace(&mut self.is_opened, true) {
            self.resumed = Some(now);
            self.doubt = Some(now + DRAIN);
        }
    }

    /// A message came for the first time that the agent dated `created`.
    pub(super) fn handle_message(&mut self, now: Instant, created: u64) {
        let Some((heard, then)) = self.anchor else {
            self.anchor = Some((now, created));
            return;
        };
        let (Some(resumed), Some(_)) = (self.resumed, self.doubt) else {
            // The quickest message tells most about the agent's clock.
            if ahead(now, heard) < created.saturating_sub(then) {
                self.anchor = Some((now, created));
            }
            return;
        };
        let since = Duration::from_millis(created.saturating_sub(then));
        let sent = heard.checked_add(since);
        let is_new = sent.is_some_and(|sent| sent > resumed + MARGIN);
        self.doubt = (!is_new).then_some(now + DRAIN);
    }

    /// True if nothing can be missing behind what came.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        self.doubt.is_none_or(|until| until <= now)
    }
}

fn ahead(now: Instant, then: Instant) -> u64 {
    let span = now.saturating_duration_since(then).as_millis();
    u64::try_from(span).unwrap_or(u64::MAX)
}

/// Longer than an agent waits for acknowledgements before it closes, and than it takes to say so.
const DRAIN: Duration = Duration::from_secs(3);

/// By how much the agent's clock, as we know it, may be wrong.
const MARGIN: Duration = Duration::from_secs(1);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_first_websocket_is_above_doubt() {
        let start = Instant::now();
        let mut remainder = Remainder::default();

        remainder.handle_connected(start);
        remainder.handle_message(start, 1_000_000);

        assert!(remainder.is_whole(start));
    }

    #[test]
    fn old_messages_keep_up_the_doubt_and_a_new_one_ends_it() {
        let start = Instant::now();
        let mut remainder = Remainder::default();
        remainder.handle_connected(start);
        remainder.handle_message(start, 1_000_000);

        remainder.handle_connected(start + at(10_000));
        assert!(!remainder.is_whole(start + at(10_000)));
        remainder.handle_message(start + at(12_000), 1_009_000);
        assert!(!remainder.is_whole(start + at(14_000)), "more may come");
        remainder.handle_message(start + at(14_500), 1_014_400);

        assert!(remainder.is_whole(start + at(14_500)));
    }

    #[test]
    fn silence_ends_the_doubt() {
        let start = Instant::now();
        let mut remainder = Remainder::default();
        remainder.handle_connected(start);
        remainder.handle_message(start, 1_000_000);

        remainder.handle_connected(start + at(10_000));
        remainder.handle_message(start + at(10_100), 1_009_000);

        assert!(!remainder.is_whole(start + at(13_000)));
        assert!(remainder.is_whole(start + at(13_100)));
    }
}
