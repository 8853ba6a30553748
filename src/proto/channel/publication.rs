//! Whether the service lets us send.
//!
//! A pause is a hint with an end: it has been seen without a matching start (protocol.md section
//! 0.1). So it lasts five seconds at most, and after one that nobody ended, others are no news for
//! as long.
//!
//! ```text
//!            pause                     five seconds
//!   Started ───────▶ Paused, until … ───────────────▶ Deaf, until …
//!      ▲               │ start, or output                │ five seconds, or start, or output
//!      └───────────────┴─────────────────────────────────┘
//! ```

use std::time::{Duration, Instant};

/// The service's permission to send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Publication {
    /// We may.
    #[default]
    Started,
    /// We may not, before then.
    Paused(Instant),
    /// We may, whatever it says before then.
    IgnoringPauses(Instant),
}

impl Publication {
    /// The service wants us to pause.
    pub(crate) fn pause(&mut self, now: Instant) {
        // The last timeout may be long ago.
        self.handle_timeout(now);
        if matches!(self, Self::Started) {
            *self = Self::Paused(now + MAX_PAUSE);
        }
    }

    /// The service, or the agent by what it says, shows that it listens.
    pub(crate) fn start(&mut self) {
        *self = Self::Started;
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Paused(until) if *until <= now => *self = Self::IgnoringPauses(now + MAX_PAUSE),
            Self::IgnoringPauses(until) if *until <= now => *self = Self::Started,
            Self::Started | Self::Paused(_) | Self::IgnoringPauses(_) => {}
        }
    }

    /// When we may send again; `None` if we may now.
    pub(crate) fn resumes(&self) -> Option<Instant> {
        match self {
            Self::Paused(until) => Some(*until),
            Self::Started | Self::IgnoringPauses(_) => None,
        }
    }
}

/// How long a pause is believed.
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    #[test]
    fn pauses_without_an_end_stop_us_half_of_the_time_at_most() {
        let start = Instant::now();
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
    fn a_start_makes_the_next_pause_count() {
        let start = Instant::now();
        let mut publication = Publication::default();
        publication.pause(start);

        publication.start();
        assert_eq!(publication.resumes(), None);
        publication.pause(start);

        assert_eq!(publication.resumes(), Some(start + MAX_PAUSE));
    }

    #[test]
    fn a_pause_counts_again_as_soon_as_others_are_no_longer_ignored() {
        let start = Instant::now();
        let mut publication = Publication::default();
        publication.pause(start);
        let ignored_from = start + MAX_PAUSE;
        publication.handle_timeout(ignored_from);

        // Nothing has happened since, not even a timeout.
        let later = ignored_from + MAX_PAUSE;
        publication.pause(later);

        assert_eq!(publication.resumes(), Some(later + MAX_PAUSE));
    }
}
