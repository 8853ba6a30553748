//! Replaces a broken websocket while the streams stay open.
//!
//! ```text
//!   first:   sign ─▶ dial ──────────────────▶ up        the session was just started
//!   resume:  ResumeSession ─▶ sign ─▶ dial ─▶ up        a new token, and perhaps a new URL
//!              ▲                        │         │
//!              └── pause or trigger ◀───┴─────────┘ failed, or broke early
//! ```
//!
//! A websocket is stable if it received a message, or was open for ten seconds, and it lived for
//! five seconds. After a stable one ResumeSession is called at once, otherwise after a pause.
//! `resume_timeout` starts when a websocket breaks that was stable or carried new data: an in-order
//! message of the agent, or data of ours that the agent acknowledged. So a slow network does not
//! end a transfer, and a sequence of websockets without data comes to an end.
//!
//! Session Manager closes every websocket about once an hour, networks change and laptops sleep:
//! none of that ends a session (docs/protocol.md, section 2.5). It ends when Session Manager
//! reports its end, or after `resume_timeout`.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use tracing::{debug, warn};

use super::Step;
use super::driver::Driver;
use super::error::Error;
use super::websocket::{self, WebSocketSink, WebSocketSource};
use crate::network::Network;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::session::{self, Session};

impl Driver {
    /// Opens the first websocket of a session in advance, with one attempt.
    ///
    /// # Errors
    ///
    /// The error of that attempt.
    pub async fn connect(&mut self) -> Result<(), Error> {
        self.first = Some(self.dial().await?);
        Ok(())
    }

    /// Opens the first websocket of a session, unless it is open. Retries until the owner closes the tunnel.
    pub(super) async fn connect_first(
        &mut self,
    ) -> Result<(WebSocketSink, WebSocketSource), Error> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            let dialled = tokio::select! {
                dialled = self.dial() => dialled,
                () = self.shared.close_requested() => return Err(Error::Ended(Reason::Finished)),
            };
            match dialled {
                Ok(websocket) => return Ok(websocket),
                Err(error) if error.is_final_at_first() => return Err(error),
                Err(error) => {
                    debug!(%error, "websocket not connected; retrying");
                    let step = Step::failed("the websocket", &error);
                    self.shared.lock().step(step);
                }
            }
            self.pause().await?;
        }
    }

    /// Opens another websocket of the session after `broken`. No websocket has been stable or
    /// carried new data since `begin`. The first attempt is made at once if `broken` ended a stable
    /// one, otherwise after a pause.
    pub(super) async fn resume(
        &mut self,
        broken: &Error,
        begin: Instant,
        is_stable: bool,
    ) -> Result<(WebSocketSink, WebSocketSource), Error> {
        let deadline = begin + self.resume_timeout;
        #[cfg(test)]
        let deadline = match crate::mutants::Mutant::HastyResume.is_active() {
            true => begin + Duration::from_secs(3),
            false => deadline,
        };
        warn!(error = %broken, "resuming the session");
        let (mut last, mut hint) = (Printable::of(broken), broken.hint());
        let mut logged = Vec::new();
        if !is_stable {
            self.pause_until(deadline, &last, hint).await?;
        }
        loop {
            let failure = tokio::select! {
                outcome = timeout_at(deadline.into(), attempt(&mut self.session, &self.network)) => {
                    match outcome {
                        Ok(Ok(websocket)) => return Ok(websocket),
                        Ok(Err(error)) => error,
                        Err(_) => return Err(self.timed_out(last, hint)),
                    }
                }
                // An attempt may hang on a network that no longer exists.
                () = self.triggered.triggered() => continue,
                () = self.shared.close_requested() => return Err(Error::Ended(Reason::Finished)),
            };
            if failure.is_final() {
                return Err(failure);
            }
            log_failure(&failure, &mut logged);
            (last, hint) = (Printable::of(&failure), failure.hint());
            self.pause_until(deadline, &last, hint).await?;
        }
    }

    /// Waits before the next attempt. Fails at `deadline`, with the error `last` of the last
    /// attempt.
    async fn pause_until(
        &mut self,
        deadline: Instant,
        last: &Printable,
        hint: &'static str,
    ) -> Result<(), Error> {
        let paused = timeout_at(deadline.into(), self.pause()).await;
        paused.unwrap_or_else(|_| Err(self.timed_out(last.clone(), hint)))
    }

    async fn dial(&self) -> Result<(WebSocketSink, WebSocketSource), Error> {
        dial(&self.session, &self.network).await
    }

    fn timed_out(&self, last: Printable, hint: &'static str) -> Error {
        let seconds = self.resume_timeout.as_secs();
        Error::Late {
            seconds,
            last,
            hint,
        }
    }

    /// Waits before the next attempt, until a trigger or until the owner closes the tunnel.
    pub(super) async fn pause(&mut self) -> Result<(), Error> {
        let pause = self.backoff.pause();
        tokio::select! {
            () = self.triggered.triggered_within(pause) => Ok(()),
            () = self.shared.close_requested() => Err(Error::Ended(Reason::Finished)),
        }
    }
}

async fn attempt(
    session: &mut Session,
    network: &Network,
) -> Result<(WebSocketSink, WebSocketSource), Error> {
    session.resume().await?;
    dial(session, network).await
}

async fn dial(
    session: &Session,
    network: &Network,
) -> Result<(WebSocketSink, WebSocketSource), Error> {
    let upgrade = match session.upgrade().await {
        Ok(upgrade) => upgrade,
        Err(error) => return dial_unsigned(session, network, error).await,
    };
    let signature = upgrade.signature();
    let dialled = websocket::connect(network, upgrade, DIAL_TIMEOUT).await;
    // The AWS credential files may have changed.
    if let Err(Error::Refused {
        status: 401 | 403, ..
    }) = dialled
        && let Some(signature) = signature
        && let Some(upgrade) = session.upgrade_again(&signature).await?
    {
        return websocket::connect(network, upgrade, DIAL_TIMEOUT).await;
    }
    dialled
}

/// Opens a websocket without a signature, if the session allows it. If that is refused, the reason is
/// `error`, for which there is no signature.
async fn dial_unsigned(
    session: &Session,
    network: &Network,
    error: session::Error,
) -> Result<(WebSocketSink, WebSocketSource), Error> {
    let Some(upgrade) = session.unsigned_upgrade(&error) else {
        return Err(error.into());
    };
    debug!(%error, "the websocket upgrade is not signed");
    match websocket::connect(network, upgrade, DIAL_TIMEOUT).await {
        Err(Error::Refused {
            status: 401 | 403, ..
        }) => Err(error.into()),
        dialled => dialled,
    }
}

/// Logs errors that the user can fix once per outage and kind, others at debug level: they are
/// transient.
fn log_failure(failure: &Error, logged: &mut Vec<session::ErrorKind>) {
    match failure {
        Error::Session(error) if error.needs_a_person() && !logged.contains(&error.kind()) => {
            logged.push(error.kind());
            warn!(%error, hint = error.hint(), "session not resumed; retrying");
        }
        Error::Session(_)
        | Error::Ended(_)
        | Error::Dial(_)
        | Error::Refused { .. }
        | Error::Late { .. }
        | Error::Broken(_) => {
            debug!(error = %failure, "session not resumed; retrying");
        }
    }
}

/// Timeout of connecting, and again of the upgrade.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
