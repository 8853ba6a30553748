//! Watchdog for missing acknowledgements.
//!
//! A destination that does not read stops its agent's acknowledgements, so their absence never ends
//! a session (docs/protocol.md, section 8.5). It is reported; later the websocket is suspected.

use std::time::{Duration, Instant};

use crate::proto::event::Event;

/// Actions taken during a period without acknowledgements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WatchdogState {
    /// None: acknowledgements have not been missing for long.
    #[default]
    Received,
    /// The silence was reported.
    Logged,
    /// The websocket was suspected this many times.
    Stale(u32),
}

impl WatchdogState {
    /// Returns when the next action is due for a silence that began at `since`.
    pub(crate) fn due(self, since: Option<Instant>) -> Option<Instant> {
        match self {
            Self::Received => Some(since? + LOG_AFTER),
            Self::Logged => Some(since? + SUSPECT_AFTER),
            Self::Stale(times) => Some(since? + SUSPECT_AFTER * (times + 1)),
        }
    }

    /// Takes the action that is due.
    pub(crate) fn poll(&mut self, now: Instant, since: Option<Instant>) -> Option<Event> {
        self.due(since).filter(|due| *due <= now)?;
        let silent = now - since?;
        let (next, event) = match *self {
            Self::Received => (
                Self::Logged,
                Event::AckTimeout {
                    silent,
                    suspect: None,
                },
            ),
            Self::Logged => (Self::Stale(1), Event::WebsocketStale { silent }),
            Self::Stale(times) => (Self::Stale(times + 1), Event::WebsocketStale { silent }),
        };
        *self = next;
        Some(event)
    }
}

/// Records when we last did not read input. Acknowledgements are not seen then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Intake {
    refuses: bool,
    until: Option<Instant>,
}

impl Intake {
    /// Records whether input is wanted now. An earlier refusal lasted until now.
    pub(crate) fn handle(&mut self, now: Instant, wants_input: bool) {
        if self.refuses || !wants_input {
            self.until = Some(now);
        }
        self.refuses = !wants_input;
    }

    /// Returns until when input was refused, as far as it was recorded.
    pub(crate) fn refused_until(self) -> Option<Instant> {
        self.until
    }
}

/// Long enough for a slow destination.
const LOG_AFTER: Duration = Duration::from_secs(60);

/// After this time a new websocket may help, and does no harm otherwise.
const SUSPECT_AFTER: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_silence_is_reported_once_and_then_each_websocket_is_suspected_after_a_while() {
        let since = clock::now();
        let at = |seconds| since + Duration::from_secs(seconds);
        let mut silence = WatchdogState::default();

        assert_eq!(silence.poll(at(59), Some(since)), None);
        let silent = Duration::from_secs(60);
        assert_eq!(
            silence.poll(at(60), Some(since)),
            Some(Event::AckTimeout {
                silent,
                suspect: None
            })
        );
        assert_eq!(silence.poll(at(299), Some(since)), None);
        let silent = Duration::from_secs(301);
        assert_eq!(
            silence.poll(at(301), Some(since)),
            Some(Event::WebsocketStale { silent })
        );
        assert_eq!(silence.poll(at(599), Some(since)), None);
        let silent = Duration::from_secs(600);
        assert_eq!(
            silence.poll(at(600), Some(since)),
            Some(Event::WebsocketStale { silent })
        );
    }

    #[test]
    fn a_refusal_of_input_lasts_until_input_is_wanted_again() {
        let begin = clock::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut intake = Intake::default();

        intake.handle(at(0), true);
        assert_eq!(intake.refused_until(), None);
        intake.handle(at(1), false);
        assert_eq!(intake.refused_until(), Some(at(1)));
        intake.handle(at(100), true);
        assert_eq!(intake.refused_until(), Some(at(100)));
        intake.handle(at(200), true);
        assert_eq!(intake.refused_until(), Some(at(100)));
    }

    #[test]
    fn an_agent_without_outstanding_acknowledgements_is_not_silent() {
        assert_eq!(WatchdogState::default().due(None), None);
    }
}
