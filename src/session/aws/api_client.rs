//! Caches the credentials of one identity: requested once, shared by all calls and signatures, and
//! replaced shortly before they expire.
//!
//! ```text
//!   call, signature ─▶ ApiClients::api_client ─▶ cached and fresh ───────────────────▶ ApiClient
//!                        │            cached, expires soon ─▶ request early ─▶ ApiClient
//!                        └─ else wait ─▶ one task asks the provider ─────────▶ ApiClient or error
//! ```
//!
//! No lock is held while a provider is asked, so each waiter can be cancelled. An [`ApiClient`] is
//! immutable: the SDK's client and the signature of an upgrade request use the same credentials.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_ssm::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tracing::debug;

use super::call_counts::counted;
use super::guard::guarded;
use super::lifetime::{CredentialsInfo, Times};
use super::settings::{self, Settings, Transport};
use super::source::ConfiguredProvider;
use crate::clock;
use crate::error_class::ErrorClass;
use crate::session::error::{Error, ErrorKind};

/// A client and the credentials it uses.
pub(in crate::session) struct ApiClient {
    pub(super) client: Client,
    /// The client of ECS, created when it is needed.
    ecs: OnceLock<aws_sdk_ecs::Client>,
    pub(super) credentials: Credentials,
    pub(super) source: Arc<ConfiguredProvider>,
    times: Option<Times>,
}

impl ApiClient {
    fn new(source: Arc<ConfiguredProvider>, settings: &Settings, credentials: Credentials) -> Self {
        let now = clock::wall();
        Self {
            client: settings::client(&source.config, settings, credentials.clone()),
            ecs: OnceLock::new(),
            times: credentials.expiry().map(|expiry| Times::new(now, expiry)),
            credentials,
            source,
        }
    }

    /// Returns the client of ECS with the same credentials.
    pub(super) fn ecs(&self, settings: &Settings) -> aws_sdk_ecs::Client {
        let new = || settings::ecs_client(&self.source.config, settings, self.credentials.clone());
        self.ecs.get_or_init(new).clone()
    }

    /// Returns the setting that selects another kind of endpoint, if there is one.
    pub(super) fn endpoint_setting(&self) -> Option<String> {
        self.source.endpoint_setting()
    }

    /// Returns whether these are its credentials.
    fn has(&self, other: &Credentials) -> bool {
        let own = &self.credentials;
        own.access_key_id() == other.access_key_id()
            && own.secret_access_key() == other.secret_access_key()
            && own.session_token() == other.session_token()
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.times.is_none_or(|times| now < times.expiry)
    }

    fn expires_soon(&self, now: SystemTime) -> bool {
        self.times.is_some_and(|times| now >= times.refresh)
    }
}

/// The cached credentials of one identity, and how to get others.
pub(super) struct ApiClients {
    requester: Arc<Requester>,
    state: Arc<Mutex<ClientState>>,
    /// The request in progress. Dropping this cancels it.
    task: Mutex<JoinSet<()>>,
}

/// What a request for credentials needs.
struct Requester {
    settings: Settings,
    transport: Transport,
}

#[derive(Default)]
struct ClientState {
    cached: Option<Arc<ApiClient>>,
    /// The source of credentials. `None` if the AWS configuration files must be read again.
    source: Option<Arc<ConfiguredProvider>>,
    /// The AWS configuration files may have changed: the cached credentials are valid only if they
    /// have not.
    must_check_files: bool,
    pending: Option<PendingRequest>,
    /// Counts requests, so that the result of a cancelled one is not used for its successor.
    number: u64,
    /// When the last request failed, and its error.
    refused: Option<(Instant, Error)>,
}

/// The request in progress.
struct PendingRequest {
    number: u64,
    asked: Instant,
    result: watch::Receiver<Option<Lookup>>,
}

type Lookup = Result<Arc<ApiClient>, Error>;

impl ApiClients {
    /// Creates an empty cache. `source` has just been read.
    pub(super) fn new(
        settings: Settings,
        transport: Transport,
        source: ConfiguredProvider,
    ) -> Self {
        let state = ClientState {
            source: Some(Arc::new(source)),
            ..ClientState::default()
        };
        Self {
            requester: Arc::new(Requester {
                settings,
                transport,
            }),
            state: Arc::new(Mutex::new(state)),
            task: Mutex::default(),
        }
    }

    /// Returns the current credentials, or waits for a provider. Can be cancelled without effect on
    /// other waiters.
    ///
    /// The error of a failed request is returned to all that were waiting. A later call causes
    /// another request, at most one per second, so that a login takes effect at once.
    pub(super) async fn api_client(&self) -> Lookup {
        let asked = clock::now();
        #[cfg(test)]
        drop(super::virtual_provider::locked().await);
        loop {
            let mut result = {
                let mut state = lock(&self.state);
                let now = clock::wall();
                let cached = state.cached.clone();
                let cached =
                    cached.filter(|cached| !state.must_check_files && cached.is_valid(now));
                if let Some(cached) = cached {
                    if cached.expires_soon(now) && state.may_request_early() {
                        self.ask(&mut state);
                    }
                    return Ok(cached);
                }
                match &state.refused {
                    Some((at, error)) if asked < *at => return Err(error.clone()),
                    Some(_) | None => self.ask(&mut state),
                }
            };
            if let Ok(result) = result.wait_for(Option::is_some).await
                && let Some(result) = result.clone()
            {
                return result;
            }
            // The request was cancelled; there is another one.
        }
    }

    /// Reads the AWS configuration files again after AWS has rejected `refused`, and returns other
    /// credentials; `None` if there are no others.
    ///
    /// `error` is then returned to all that are waiting by now. Without an `error`, the same
    /// credentials may be used again.
    pub(super) async fn other_than(
        &self,
        refused: &Credentials,
        error: Option<&Error>,
    ) -> Option<Lookup> {
        self.drop_if_cached(refused);
        let other = match self.api_client().await {
            Ok(other) => other,
            Err(error) => return Some(Err(error)),
        };
        if !other.has(refused) {
            return Some(Ok(other));
        }
        if let Some(error) = error
            && self.drop_if_cached(refused)
        {
            lock(&self.state).refused = Some((clock::now(), error.clone()));
        }
        None
    }

    /// Drops these credentials from the cache, so that the next call reads the AWS configuration
    /// files again. Returns whether they were cached.
    pub(super) fn drop_if_cached(&self, refused: &Credentials) -> bool {
        let mut state = lock(&self.state);
        let cached = state.cached.as_ref();
        let is_cached = cached.is_some_and(|cached| cached.has(refused));
        if is_cached {
            state.cached = None;
            state.source = None;
            // It used what was read before.
            self.cancel_request(&mut state);
        }
        is_cached
    }

    /// Returns what is known of the cached credentials.
    pub(super) fn info(&self) -> Option<CredentialsInfo> {
        let state = lock(&self.state);
        let cached = state.cached.as_ref()?;
        let account = cached.credentials.account_id();
        Some(CredentialsInfo {
            account: account.map(|account| account.as_str().into()),
            expiry: cached.times.map(|times| times.expiry),
        })
    }

    /// Makes the next call check whether the AWS configuration files have changed.
    pub(super) fn invalidate_files(&self) {
        let mut state = lock(&self.state);
        state.must_check_files = true;
        self.cancel_request(&mut state);
    }

    /// Skips the pause before the next request, and repeats a request in progress.
    pub(super) fn retry_now(&self) {
        let mut state = lock(&self.state);
        state.refused = None;
        self.cancel_request(&mut state);
    }

    /// Makes every call wait without end, as if a provider never responded.
    #[cfg(test)]
    pub(super) fn hang(&self) {
        let (sender, result) = watch::channel(None);
        lock(&self.state).pending = Some(PendingRequest {
            number: 0,
            asked: clock::now(),
            result,
        });
        let never = async move { sender.closed().await };
        self.task.lock().unwrap().spawn(never);
    }

    /// Cancels the request in progress. All waiters make a new one.
    fn cancel_request(&self, state: &mut ClientState) {
        state.pending = None;
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.abort_all();
    }

    /// Returns for how long the request in progress has been pending.
    pub(super) fn pending_for(&self) -> Duration {
        let state = lock(&self.state);
        let pending = state.pending.as_ref();
        pending.map_or(Duration::ZERO, |pending| clock::since(pending.asked))
    }

    /// Returns the result of the request in progress, or of a new one.
    fn ask(&self, state: &mut ClientState) -> watch::Receiver<Option<Lookup>> {
        if let Some(pending) = &state.pending {
            return pending.result.clone();
        }
        state.number += 1;
        let number = state.number;
        let (sender, result) = watch::channel(None);
        state.pending = Some(PendingRequest {
            number,
            asked: clock::now(),
            result: result.clone(),
        });
        let pause = state.refused.as_ref().map(|(at, _)| *at + PAUSE);
        let (requester, shared) = (Arc::clone(&self.requester), Arc::clone(&self.state));
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        while task.try_join_next().is_some() {}
        task.spawn(async move {
            if let Some(pause) = pause {
                sleep_until(pause.into()).await;
            }
            let result = counted("credentials", requester.ask(&shared).await);
            let mut state = lock(&shared);
            if state.pending.as_ref().is_some_and(|q| q.number == number) {
                state.handle(&result);
                sender.send_replace(Some(result));
            }
        });
        result
    }
}

impl Requester {
    async fn ask(&self, state: &Mutex<ClientState>) -> Lookup {
        #[cfg(test)]
        let _locked = super::virtual_provider::locked().await;
        let limited = guarded("credentials", REQUEST_TIMEOUT, self.ask_provider(state));
        limited.await.unwrap_or_else(|error| {
            let why = "the credential provider did not respond in time";
            // The error of `guarded` for a timeout.
            Err(match error.kind() == ErrorKind::Unreachable {
                true => Error::new("credentials", ErrorKind::Credentials, why),
                false => error,
            })
        })
    }

    async fn ask_provider(&self, state: &Mutex<ClientState>) -> Lookup {
        let (cached, mut source, must_check_files) = {
            let state = lock(state);
            (
                state.cached.clone(),
                state.source.clone(),
                state.must_check_files,
            )
        };
        if must_check_files {
            let read = source.or_else(|| cached.as_ref().map(|cached| Arc::clone(&cached.source)));
            source = match read {
                Some(read) if read.is_current().await => Some(read),
                Some(_) | None => None,
            };
            let now = clock::wall();
            let good = cached.filter(|cached| cached.is_valid(now) && !cached.expires_soon(now));
            if let (Some(cached), Some(_)) = (good, &source) {
                return Ok(cached);
            }
        }
        let source = match source {
            Some(source) => source,
            None => Arc::new(ConfiguredProvider::load(&self.settings, &self.transport).await?),
        };
        let credentials = source.ask().await;
        let credentials = credentials.map_err(|error| source.explained(&error, &self.settings))?;
        let api_client = ApiClient::new(source, &self.settings, credentials);
        if !api_client.is_valid(clock::wall()) {
            let why = "the credentials have expired, or the clock of this machine is wrong";
            let error = Error::new("credentials", ErrorKind::Credentials, why);
            return Err(error.with_class(ErrorClass::CredentialsExpired));
        }
        Ok(Arc::new(api_client))
    }
}

impl ClientState {
    fn handle(&mut self, result: &Lookup) {
        self.pending = None;
        match result {
            Ok(api_client) => {
                self.source = Some(Arc::clone(&api_client.source));
                self.cached = Some(Arc::clone(api_client));
                self.must_check_files = false;
                self.refused = None;
            }
            Err(error) => {
                debug!(%error, "cannot refresh the credentials");
                // Read again next time: a login may have changed the AWS configuration files.
                self.source = None;
                self.refused = Some((clock::now(), error.clone()));
            }
        }
    }

    /// Returns false for some time after a failed early request, while the cached credentials are
    /// still valid.
    fn may_request_early(&self) -> bool {
        let failed = self.refused.as_ref();
        failed.is_none_or(|(at, _)| clock::since(*at) >= EARLY_PAUSE)
    }
}

fn lock(state: &Mutex<ClientState>) -> MutexGuard<'_, ClientState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pause after a failed request.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause after a failed early request, whose result nothing waits for.
const EARLY_PAUSE: Duration = Duration::from_secs(10);

/// Timeout of a request: a program of the user, and one or two roles assumed after it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
