//! SSM sessions: starting, resuming and terminating them. The only user of the AWS SDK.
//!
//! ```text
//!   Sessions::start ─▶ queue ─▶ task: StartSession ─▶ Session ─ dropped ─▶ TerminateSession
//!               (rate limiter)  (never cancelled)       │                  (with retries)
//!                                                       └─ upgrade: signed websocket request
//! ```
//!
//! An active session keeps a worker process running on its target. To leave none behind, a
//! StartSession call is never cancelled, and its result is a guard: dropping a [`Session`], on any
//! path, sends its id to the [`Dispatcher`], which outlives all forwards.
//!
//! This module does not know the data channel protocol inside a session.

mod aws;
mod circuit_breaker;
mod database_token;
mod dispatcher;
mod domains;
mod error;
mod journal;
mod node_order;
mod priority;
mod public_key;
mod push_key;
mod rate_limiter;
mod registry;
mod shutdown_mode;
mod sigv4;
mod start;
mod start_on;
mod start_queue;
mod stream_url;
mod supplied;
mod target;
mod task_choice;
mod terminate;
#[cfg(test)]
mod unanswered;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;

#[cfg(test)]
pub use self::aws::virtual_provider;
pub use self::aws::{
    ApiCallCount, ClusterTask, CredentialsInfo, DocumentInfo, Endpoints, Identity, ManagedNode,
    ManagedNodes, NodeFilter, ParameterInfo, ProfileBundle, ProfilePlace, Settings, SsmClient,
    allow_prompts, api_calls, check_profile, kill_credential_processes, restore_terminal,
    unless_prompting,
};
pub use self::circuit_breaker::{CircuitBreaker, Decision, HoldTime};
pub use self::database_token::{DatabaseLogin, DatabaseToken};
pub use self::dispatcher::{Dispatcher, RetryTrigger, Sessions, unix_seconds};
pub use self::domains::before_aws_domain;
pub use self::error::{Error, ErrorKind, Recovery};
pub use self::journal::{Journal, JournalEntry, Origin};
pub use self::priority::Priority;
pub use self::public_key::{OsUser, OsUserError, PublicKey, PublicKeyError, PushedKey};
use self::registry::Registration;
pub use self::registry::SessionEnd;
pub use self::shutdown_mode::ShutdownMode;
pub use self::sigv4::{Signature, Upgrade};
pub use self::start_on::{RegionalTarget, StartStage};
pub use self::stream_url::{StreamUrl, StreamUrlError};
pub use self::supplied::SuppliedSession;
pub use self::target::{EcsTarget, EcsTasks, Target};
pub use self::terminate::TerminatePolicy;
use crate::network::Endpoint;

/// Parameters of a StartSession call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRequest {
    /// The managed node: `i-…`, `mi-…` or `ecs:…`.
    pub target: String,
    /// The name of the SSM document.
    pub document: String,
    /// Parameters of the document, each with its values.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// The `Reason` of the session, 1 to 256 characters: who starts it and what for. It is used to
    /// find a session whose id was lost.
    pub reason: String,
}

/// An active session. Dropping it terminates the session.
#[derive(Debug)]
pub struct Session {
    registration: Arc<Registration>,
    access: ChannelAccess,
    /// The node that it was started on.
    target: String,
    /// Whether another program has started it.
    is_supplied: bool,
    ssm: SsmClient,
    sessions: Sessions,
    /// Span of the connection that the session was started for.
    span: Span,
}

impl Session {
    /// Returns the session id.
    pub fn id(&self) -> &str {
        self.registration.id()
    }

    /// Returns the id of the node that the session was started on.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the client of its account and region.
    pub fn client(&self) -> &SsmClient {
        &self.ssm
    }

    /// Returns the end of the session, to wait for after the session was dropped.
    pub fn end(&self) -> SessionEnd {
        self.registration.watch()
    }

    /// Returns the endpoint of the most recent stream URL.
    pub fn endpoint(&self) -> &Endpoint {
        self.access.url.endpoint()
    }

    /// Returns the most recent token.
    pub fn token(&self) -> &Token {
        &self.access.token
    }

    /// Calls ResumeSession once for a new token and stream URL. Sequence numbers and streams of the
    /// session are kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SessionEnded`] if the session has ended; otherwise the error of the call. Times
    /// out after 10 s for the credentials and 10 s for the call.
    pub async fn resume(&mut self) -> Result<(), Error> {
        // Before the permit, so that a hanging credential provider holds none.
        in_time(self.ssm.api_client()).await?;
        // After a network outage all sessions are resumed at once.
        let _permit = self.ssm.limits().resume.acquire().await;
        let (id, previous) = (self.registration.id(), &self.access.url);
        // Boxed, because the callers' futures would nest too deep for the compiler.
        let resumed = Box::pin(self.ssm.resume(id, previous));
        self.access = in_time(resumed).await?;
        Ok(())
    }

    /// Returns a signed upgrade request for the most recent stream URL, to be sent immediately.
    ///
    /// # Errors
    ///
    /// Fails if there are no credentials to sign with.
    pub async fn upgrade(&self) -> Result<Upgrade, Error> {
        self.ssm.upgrade(&self.access.url).await
    }

    /// Returns an unsigned upgrade request, if this session was started by another program and `error`
    /// says that there are no credentials to sign with: the other program may have some that it does
    /// not pass on. The token opens the data channel.
    pub fn unsigned_upgrade(&self, error: &Error) -> Option<Upgrade> {
        let has_none = matches!(error.kind(), ErrorKind::Credentials | ErrorKind::Profile);
        (self.is_supplied && has_none).then(|| sigv4::unsigned(&self.access.url))
    }

    /// Like [`Session::upgrade`], but with other credentials, after AWS has rejected those of
    /// `refused`. Returns `None` if there are no others.
    ///
    /// # Errors
    ///
    /// As [`Session::upgrade`].
    pub async fn upgrade_again(&self, refused: &Signature) -> Result<Option<Upgrade>, Error> {
        let url = &self.access.url;
        self.ssm.upgrade_again(url, refused).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (registration, span) = (Arc::clone(&self.registration), self.span.clone());
        self.sessions
            .terminate(self.ssm.clone(), registration, span);
    }
}

/// Runs a step of [`Session::resume`] with [`RESUME_TIMEOUT`].
async fn in_time<T>(step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(RESUME_TIMEOUT, step).await.unwrap_or_else(|_| {
        let seconds = RESUME_TIMEOUT.as_secs();
        let why = format!("no response within {seconds} s");
        Err(Error::new("ResumeSession", ErrorKind::Unreachable, why))
    })
}

/// Shorter than the SDK's timeout: an attempt may hang on a connection of a network that is gone.
const RESUME_TIMEOUT: Duration = Duration::from_secs(10);

/// The stream URL and token that open the data channel of a session.
#[derive(Clone, Debug)]
pub struct ChannelAccess {
    url: StreamUrl,
    token: Token,
}

/// A token, valid just long enough to connect. `Debug` omits it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token.
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// Returns the secret token. Only for the opening message of the data channel.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
