//! SSM sessions, and the one door to AWS.
//!
//! ```text
//!   Sessions::turn ─▶ Turn::start ─▶ task: StartSession ─▶ Session ── dropped ─▶ TerminateSession
//!   (the limiter)                    (never cancelled)       │         (tried until it is of use)
//!                                                            └─ upgrade: a signed request
//! ```
//!
//! A session leaves a worker process on the target until it is ended, so none is forgotten: the
//! call that starts one is never cancelled, and what it gives is a guard. Dropping the guard, on
//! whatever path, hands the id to the [`Dispatcher`], which outlives all forwards.
//!
//! This room knows nothing of what travels inside a session.

mod aws;
mod circuit_breaker;
mod dispatcher;
mod error;
mod journal;
mod node_order;
mod priority;
mod rate_limiter;
mod registry;
mod shutdown_mode;
mod sigv4;
mod start;
mod start_queue;
mod stream_url;
mod target;
mod terminate;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;

pub use self::aws::{
    Identity, ProfileBundle, Service, Settings, allow_questions, check_profile,
    kill_credential_processes,
};
pub use self::circuit_breaker::{CircuitBreaker, Decision, Patience};
pub use self::dispatcher::{Dispatcher, Impatience, Sessions, Turn, unix_seconds};
pub use self::error::{Error, Kind, Recovery};
pub use self::journal::{Entry, Journal, Origin};
pub use self::priority::Urgency;
use self::registry::Registration;
pub use self::shutdown_mode::ShutdownMode;
pub use self::sigv4::{Signature, Upgrade};
pub use self::stream_url::{StreamUrl, StreamUrlError};
pub use self::target::{Progress, Target};
pub use self::terminate::TerminatePolicy;

/// What StartSession is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRequest {
    /// The managed node: `i-…`, `mi-…` or `ecs:…`.
    pub target: String,
    /// The document.
    pub document: String,
    /// Parameters of the document, each of which has one value.
    pub parameters: Vec<(&'static str, String)>,
    /// Who starts it and what for, so that a session whose id was lost can be found; 1 to 256
    /// characters.
    pub reason: String,
}

/// A session that was started. Dropping it ends it.
#[derive(Debug)]
pub struct Session {
    registration: Arc<Registration>,
    access: Access,
    service: Service,
    sessions: Sessions,
    /// Of the connection that it was started for.
    span: Span,
}

impl Session {
    /// The id by which the service knows it.
    pub fn id(&self) -> &str {
        self.registration.id()
    }

    /// The newest token.
    pub fn token(&self) -> &Token {
        &self.access.token
    }

    /// Asks the service for another token and stream URL, once; sequence numbers and streams of
    /// the session live on.
    ///
    /// # Errors
    ///
    /// [`Kind::Ended`] if the session is over; else what the service says.
    pub async fn resume(&mut self) -> Result<(), Error> {
        // Before the permit: nobody else waits for a credential provider that hangs.
        in_time(self.service.caller()).await?;
        // When a network comes back, every session wants to be resumed.
        let _permit = self.service.limits().resume.acquire().await;
        let (id, former) = (self.registration.id(), &self.access.url);
        // Boxed, because the futures of the callers would nest too deep for the compiler.
        let resumed = Box::pin(self.service.resume(id, former));
        self.access = in_time(resumed).await?;
        Ok(())
    }

    /// A signed request for the newest stream URL, to be sent at once.
    ///
    /// # Errors
    ///
    /// If there are no credentials to sign with.
    pub async fn upgrade(&self) -> Result<Upgrade, Error> {
        self.service.upgrade(&self.access.url).await
    }

    /// The same with other credentials, after the service has refused those of `refused`. `None` if
    /// there are no others.
    ///
    /// # Errors
    ///
    /// As [`Session::upgrade`].
    pub async fn upgrade_again(&self, refused: &Signature) -> Result<Option<Upgrade>, Error> {
        let url = &self.access.url;
        self.service.upgrade_again(url, refused).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (registration, span) = (Arc::clone(&self.registration), self.span.clone());
        self.sessions.end(self.service.clone(), registration, span);
    }
}

/// Awaits a step of a resumption for at most [`RESUME_TIMEOUT`].
async fn in_time<T>(step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(RESUME_TIMEOUT, step).await.unwrap_or_else(|_| {
        let seconds = RESUME_TIMEOUT.as_secs();
        let why = format!("no answer within {seconds} s");
        Err(Error::new("ResumeSession", Kind::Unreachable, why))
    })
}

/// Sooner than the SDK would: an attempt may hang on a connection of a network that is no more.
const RESUME_TIMEOUT: Duration = Duration::from_secs(10);

/// What opens the data channel of a session.
#[derive(Clone, Debug)]
pub struct Access {
    url: StreamUrl,
    token: Token,
}

/// A token, valid just long enough to connect. It does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token itself, for the opening of the channel and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
