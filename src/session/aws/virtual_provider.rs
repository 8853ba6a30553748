//! A credential provider for unit tests in virtual time: fixed keys that can expire, and a provider
//! that can be slow, hang or fail.

use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_credential_types::provider::{self, ProvideCredentials};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock;
use crate::mutants::Mutant;

thread_local! {
    static CONDITION: Cell<Condition> = const { Cell::new(Condition::Good) };
    static LIFE: Cell<Duration> = const { Cell::new(DEFAULT_LIFE) };
    static LOCK: Arc<Mutex<()>> = Arc::default();
    static HITS: Cell<u32> = const { Cell::new(0) };
    static EXPIRY: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// Condition of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It answers at once.
    Good,
    /// It answers after this time.
    Slow(Duration),
    /// A request that has begun is never answered.
    Hanging,
    /// It has no credentials.
    Failing,
}

/// Makes the provider answer at once, with credentials that last for [`DEFAULT_LIFE`].
pub fn reset() {
    set(Condition::Good);
    set_life(DEFAULT_LIFE);
}

/// Returns for how long the last credentials are still valid.
pub fn valid_for() -> Duration {
    let left = EXPIRY
        .get()
        .map(|expiry| expiry.duration_since(clock::wall()));
    left.and_then(Result::ok).unwrap_or_default()
}

/// Returns how often the provider was asked while it was not good, and forgets it.
pub fn take_hits() -> u32 {
    HITS.take()
}

/// Sets the condition.
pub fn set(condition: Condition) {
    CONDITION.set(condition);
}

/// Returns whether the provider answers at once.
pub fn is_good() -> bool {
    CONDITION.get() == Condition::Good
}

/// The daemon will ask for credentials, whatever it has.
pub fn forget() {
    EXPIRY.set(None);
}

/// Sets for how long credentials are valid that are provided from now on.
pub fn set_life(life: Duration) {
    LIFE.set(life);
}

/// Takes the lock of [`Mutant::LockAcrossProvider`], if that is active.
pub(super) async fn locked() -> Option<OwnedMutexGuard<()>> {
    let lock = LOCK.with(Arc::clone);
    match Mutant::LockAcrossProvider.is_active() {
        true => Some(lock.lock_owned().await),
        false => None,
    }
}

/// The provider.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) keys: Credentials,
}

impl Provider {
    async fn provide(&self) -> provider::Result {
        if CONDITION.get() != Condition::Good {
            HITS.set(HITS.get() + 1);
        }
        match CONDITION.get() {
            Condition::Good => {}
            Condition::Slow(delay) => tokio::time::sleep(delay).await,
            Condition::Hanging => pending().await,
            Condition::Failing => return Err(CredentialsError::not_loaded("none today")),
        }
        let expiry = Some(clock::wall() + LIFE.get());
        EXPIRY.set(expiry);
        let (key, secret) = (self.keys.access_key_id(), self.keys.secret_access_key());
        Ok(Credentials::new(key, secret, None, expiry, "virtual"))
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

const DEFAULT_LIFE: Duration = Duration::from_secs(1800);

/// Credentials that live that long are replaced five minutes before they expire. At this time, the
/// provider will be asked at the next call.
pub const RENEWAL: Duration = Duration::from_secs(280);
