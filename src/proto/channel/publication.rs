//! Flow control by Session Manager: pause and start of publication.
//!
//! A pause has a time limit, because it was observed without a matching start (docs/protocol.md,
//! section 0.1). It lasts at most five seconds. After one that was not ended by a start, further
//! pauses are ignored for as long.
//!
//! ```text
//!            pause                     five seconds
//!   Started ───────▶ Paused, until … ───────────────▶ IgnoringPauses, until …
//!      ▲               │ start, or output                │ five seconds, or start, or output
//!      └───────────────┴─────────────────────────────────┘
//! ```

use std::time::{Duration, Instant};

/// Permission to send, given by Session Manager.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Publication {
    /// Sending is permitted.
    #[default]
    Started,
    /// Sending is paused until this time.
    Paused(Instant),
    /// Sending is permitted, and pauses are ignored until this time.
    IgnoringPauses(Instant),
}

impl Publication {
    /// Session Manager requested a pause.
    pub(crate) fn pause(&mut self, now: Instant) {
        // The last `handle_timeout` may be long ago.
        self.handle_timeout(now);
        if matches!(self, Self::Started) {
            *self = Self::Paused(now + MAX_PAUSE);
        }
    }

    /// Session Manager requested a start, or a message of the agent shows that it receives.
    pub(crate) fn start(&mut self) {
        *self = Self::Started;
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Paused(until) if *until <= now => *self = Self::IgnoringPauses(now + MAX_PAUSE),
            Self::IgnoringPauses(until) if *until <= now => *self = Self::Started,
            Self::Started | Self::Paused(_) | Self::IgnoringPauses(_) => {}
        }
    }

    /// Returns when sending may resume; `None` if it is permitted now.
    pub(crate) fn resumes(&self) -> Option<Instant> {
        match self {
            Self::Paused(until) => Some(*until),
            Self::Started | Self::IgnoringPauses(_) => None,
        }
    }
}

/// Maximum duration of a pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn pauses_without_a_start_stop_sending_for_half_of_the_time_at_most() {
        let start = clock::now();
        let mut publication = Publication::default();
        let mut stopped = 0;

        for second in 0..1000 {
            let now = start + Duration::from_secs(second);
            publication.handle_timeout(now);
            publication.pause(now);
            stopped += u32::from(publication.resumes().is_some());
        }

        assert_eq!(stopped, 500);
    }

    #[test]
    fn after_a_start_the_next_pause_is_not_ignored() {
        let start = clock::now();
        let mut publication = Publication::default();
        publication.pause(start);

        publication.start();
        assert_eq!(publication.resumes(), None);
        publication.pause(start);

        assert_eq!(publication.resumes(), Some(start + MAX_PAUSE));
    }

    #[test]
    fn a_pause_at_the_end_of_the_ignoring_period_is_not_ignored() {
        let start = clock::now();
        let mut publication = Publication::default();
        publication.pause(start);
        let ignored_from = start + MAX_PAUSE;
        publication.handle_timeout(ignored_from);

        // There was no call since, not even of `handle_timeout`.
        let later = ignored_from + MAX_PAUSE;
        publication.pause(later);

        assert_eq!(publication.resumes(), Some(later + MAX_PAUSE));
    }
}
