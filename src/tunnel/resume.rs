//! A broken websocket replaced under living streams.
//!
//! ```text
//!   first:   sign ─▶ dial ──────────────────▶ up        the session was just started
//!   resume:  ResumeSession ─▶ sign ─▶ dial ─▶ up        a new token, and perhaps a new URL
//!              ▲                        │
//!              └── pause, or a nudge ◀──┘ failed, and may pass
//! ```
//!
//! The service closes every websocket about once an hour, networks change and laptops sleep: none
//! of it ends a session (protocol.md section 2.5). It is over when the service says so, or when
//! `resume_timeout` has passed.

#![expect(clippy::disallowed_methods, reason = "attempts end at a deadline")]

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};
use tracing::{debug, info, warn};

use super::driver::Driver;
use super::error::Error;
use super::websocket::{self, Sink, Source};
use crate::proto::Reason;

impl Driver {
    /// The first websocket of a session. Tries as long as its owner lets it.
    pub(super) async fn first(&mut self) -> Result<(Sink, Source), Error> {
        loop {
            match self.dial().await {
                Ok(websocket) => return Ok(websocket),
                Err(error) if error.is_final_at_first() => return Err(error),
                Err(error) => {
                    debug!(%error, "no websocket yet; will try again");
                    self.shared.lock().step(format!("the websocket ({error})"));
                }
            }
            self.pause().await?;
        }
    }

    /// Another websocket after `broken`, for the same session.
    pub(super) async fn resume(&mut self, broken: &Error) -> Result<(Sink, Source), Error> {
        let begin = Instant::now();
        let deadline = begin + self.resume_timeout;
        warn!(error = %broken, "resuming the session");
        loop {
            let failure = match timeout_at(deadline.into(), self.attempt()).await {
                Ok(Ok(websocket)) => {
                    info!(after = ?begin.elapsed(), "session resumed");
                    return Ok(websocket);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(self.late(broken)),
            };
            if failure.is_final() {
                return Err(failure);
            }
            debug!(error = %failure, "session not resumed; will try again");
            match timeout_at(deadline.into(), self.pause()).await {
                Ok(paused) => paused?,
                Err(_) => return Err(self.late(&failure)),
            }
        }
    }

    async fn attempt(&mut self) -> Result<(Sink, Source), Error> {
        self.session.resume().await?;
        self.dial().await
    }

    async fn dial(&self) -> Result<(Sink, Source), Error> {
        let upgrade = self.session.upgrade().await?;
        websocket::connect(&self.network, upgrade, DIAL_TIMEOUT).await
    }

    fn late(&self, last: &Error) -> Error {
        let seconds = self.resume_timeout.as_secs();
        Error::Late {
            seconds,
            last: last.to_string(),
        }
    }

    /// Waits before the next attempt, until someone nudges or the owner closes the tunnel.
    pub(super) async fn pause(&mut self) -> Result<(), Error> {
        let pause = self.backoff.pause();
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = self.nudged.nudged() => Ok(()),
            () = self.shared.close_asked() => Err(Error::Ended(Reason::Finished)),
        }
    }
}

/// How long the dial and the upgrade may take, each.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
