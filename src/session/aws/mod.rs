//! The SSM API by the AWS SDK.
//!
//! Credentials come from the SDK's own chain. The SDK's retries are off: StartSession is not
//! idempotent, and whoever calls knows better when to try again.

#![expect(
    clippy::disallowed_methods,
    reason = "credentials are looked for once a second"
)]

mod caller;
mod directory;
mod effect;
#[cfg(test)]
mod files;
mod refusal;
mod role;
mod settings;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aws_config::Region;
use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use tokio::time::sleep_until;
use tracing::warn;

use self::caller::{Book, Caller};
use self::directory::Directory;
pub(super) use self::directory::Found;
pub(super) use self::effect::Transmission;
use self::refusal::classify;
pub(super) use self::refusal::find;
pub(super) use self::role::NotAssumed;
pub use self::settings::{Identity, Settings};
use self::settings::{Transport, sdk_config};
use super::endpoint::{Gateway, StreamUrl, StreamUrlError};
use super::error::{Effect, Error, Kind};
use super::journal::Origin;
use super::sign::Upgrade;
use super::{Access, StartRequest, Token};

/// The SSM API of one region, as one caller. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

impl Service {
    /// Reads the usual AWS environment and files. No call is made and no credential is asked for.
    ///
    /// # Errors
    ///
    /// If no region is configured anywhere, or the bundle of certificates cannot be read.
    pub async fn load(settings: Settings) -> Result<Self, Error> {
        let transport = Transport::new(&settings)?;
        Self::over(transport, settings).await
    }

    /// One with the same certificates and the same proxy as this.
    ///
    /// # Errors
    ///
    /// As [`Service::load`].
    pub async fn beside(&self, settings: Settings) -> Result<Self, Error> {
        Self::over(self.0.transport.clone(), settings).await
    }

    async fn over(transport: Transport, settings: Settings) -> Result<Self, Error> {
        let gateway = settings.ssmmessages_endpoint.as_deref().map(Gateway::new);
        let gateway = gateway.transpose().map_err(|error| {
            Error::new("ssmmessages_endpoint", Kind::Endpoint, error.to_string())
        })?;
        let config = sdk_config(&settings, &transport).await;
        let region = config.region().map(Region::to_string).ok_or_else(|| {
            let why = "neither the file, the environment nor the profile says which one";
            Error::new("no region", Kind::Region, why)
        })?;
        Ok(Self(Arc::new(Inner {
            book: Mutex::new(Book {
                caller: Some(Arc::new(Caller::new(&config, &settings, &region))),
                refused: None,
            }),
            looking: tokio::sync::Mutex::default(),
            transport,
            directory: Directory::default(),
            settings,
            region,
            gateway,
        })))
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Calls StartSession, once. The error tells whether a session may have been started.
    pub(super) async fn start(
        &self,
        request: &StartRequest,
        transmission: &Transmission,
    ) -> Result<Started, Error> {
        let caller = self.caller().await?;
        let mut call = caller.client.start_session();
        for (name, value) in &request.parameters {
            call = call.parameters(*name, vec![value.clone()]);
        }
        let answer = call
            .target(&request.target)
            .document_name(&request.document)
            .reason(&request.reason)
            .customize()
            .interceptor(transmission.clone())
            .send()
            .await;
        let effect = match &answer {
            Ok(_) => Effect::Answered,
            Err(error) => transmission.effect(error),
        };
        let answer = self.classified(&caller, START, answer);
        let answer = answer.map_err(|error| error.with_effect(effect))?;
        let id = answer.session_id.filter(|id| is_session_id(id));
        let id = id.ok_or_else(|| {
            // It was started, but nobody can end it by its id.
            incomplete(START, "a session id that can be used").with_effect(Effect::Unknown)
        })?;
        let access = self.access(START, answer.stream_url, answer.token_value);
        Ok(Started { id, access })
    }

    /// Calls ResumeSession, once. An answer without a token means that the session is over
    /// (protocol.md section 1.1); `former` is dialled again if it brings no other URL.
    pub(super) async fn resume(&self, id: &str, former: &StreamUrl) -> Result<Access, Error> {
        let caller = self.caller().await?;
        let call = caller.client.resume_session().session_id(id);
        let answer = self.classified(&caller, RESUME, call.send().await)?;
        let token = answer.token_value.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            let why = "the session is over: it timed out, or was terminated";
            Error::new(RESUME, Kind::Ended, why)
        })?;
        let url = answer.stream_url.filter(|url| !url.is_empty());
        let url = match url.map(|url| self.stream_url(&url)) {
            Some(Ok(url)) => url,
            Some(Err(error)) => {
                warn!(%error, "ResumeSession gave a stream URL that is not dialled; the former one is");
                former.clone()
            }
            None => former.clone(),
        };
        let token = Token(token);
        Ok(Access { url, token })
    }

    fn access(
        &self,
        call: &'static str,
        url: Option<String>,
        token: Option<String>,
    ) -> Result<Access, Error> {
        let url = url.ok_or_else(|| incomplete(call, "a stream URL"))?;
        let token = token.filter(|token| !token.is_empty());
        let token = Token(token.ok_or_else(|| incomplete(call, "a token"))?);
        let url = self.stream_url(&url);
        let url = url.map_err(|error| Error::new(call, Kind::Endpoint, error.to_string()))?;
        Ok(Access { url, token })
    }

    fn stream_url(&self, text: &str) -> Result<StreamUrl, StreamUrlError> {
        match &self.0.gateway {
            Some(gateway) => StreamUrl::at(gateway, text),
            None => StreamUrl::new(text, self.region()),
        }
    }

    /// Calls TerminateSession, once. Ending an ended session is no error.
    pub(super) async fn terminate(&self, id: &str) -> Result<(), Error> {
        let caller = self.caller().await?;
        let call = caller.client.terminate_session().session_id(id);
        match call.send().await {
            Err(error) if code(&error) == Some("DoesNotExistException") => Ok(()),
            answer => self.classified(&caller, TERMINATE, answer).map(drop),
        }
    }

    /// Signs the upgrade of a stream URL, as of now.
    pub(super) async fn upgrade(&self, url: &StreamUrl) -> Result<Upgrade, Error> {
        let caller = self.caller().await?;
        let signed = caller.signer.sign(url).await;
        signed.inspect_err(|error| self.0.book().doubt(&caller, error))
    }

    /// Looks for credentials anew if the last ones were of no use: one looks for all, and once a
    /// second. What is missing is not remembered for longer, so that a login is found at once.
    async fn caller(&self) -> Result<Arc<Caller>, Error> {
        let inner = &self.0;
        let asked = Instant::now();
        if let Some(caller) = inner.book().caller() {
            return Ok(caller);
        }
        let _looking = inner.looking.lock().await;
        if let Some(caller) = inner.book().caller() {
            return Ok(caller);
        }
        let refused = inner.book().refused();
        if let Some((at, error)) = refused {
            if asked < at {
                return Err(error);
            }
            sleep_until((at + CREDENTIALS_PAUSE).into()).await;
        }
        let Inner {
            settings,
            transport,
            region,
            ..
        } = &**inner;
        let config = sdk_config(settings, transport).await;
        let caller = Arc::new(Caller::new(&config, settings, region));
        inner.book().know(Arc::clone(&caller));
        Ok(caller)
    }

    fn classified<T, E>(
        &self,
        caller: &Arc<Caller>,
        call: &'static str,
        answer: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (settings, region) = (&self.0.settings, self.region());
        let classify = |error| classify(call, region, settings, &error);
        let answer = answer.map_err(classify);
        answer.inspect_err(|error| self.0.book().doubt(caller, error))
    }

    /// The next call looks for credentials anew.
    pub(super) fn forget_credentials(&self) {
        self.0.book().forget();
    }

    /// The next call looks for credentials at once.
    pub fn cut_short(&self) {
        self.0.book().cut_short();
    }

    /// Where and as whom its sessions are started.
    pub fn origin(&self) -> Origin {
        let Settings {
            profile,
            profile_first,
            role,
            ssm_endpoint,
            ..
        } = &self.0.settings;
        Origin {
            region: self.0.region.clone(),
            profile: profile.clone(),
            profile_first: *profile_first,
            role: role.clone(),
            endpoint: ssm_endpoint.clone(),
        }
    }

    /// The service that a session was started with, which is this one or one with the same
    /// certificates and the same identity.
    ///
    /// # Errors
    ///
    /// As [`Service::load`].
    pub async fn of(&self, origin: &Origin) -> Result<Self, Error> {
        if self.origin() == *origin {
            return Ok(self.clone());
        }
        let Origin {
            region,
            profile,
            profile_first,
            role,
            endpoint,
        } = origin.clone();
        let settings = Settings {
            region: Some(region),
            profile,
            profile_first,
            role,
            ssm_endpoint: endpoint,
            ..self.0.settings.clone()
        };
        self.beside(settings).await
    }
}

/// A session that was started, whatever is wrong with the rest of the answer.
pub(super) struct Started {
    pub(super) id: String,
    /// What opens its data channel, or why that cannot be used.
    pub(super) access: Result<Access, Error>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.0.region)
    }
}

struct Inner {
    book: Mutex<Book>,
    /// Someone looks for credentials.
    looking: tokio::sync::Mutex<()>,
    transport: Transport,
    directory: Directory,
    settings: Settings,
    region: String,
    /// Where data channels are dialled, if not where the service says.
    gateway: Option<Gateway>,
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }
}

/// What can be said in a line, and asked for in a call: AWS's own are of letters, digits, `-`.
fn is_session_id(id: &str) -> bool {
    (1..=MAX_SESSION_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

fn incomplete(call: &'static str, missing: &str) -> Error {
    Error::new(
        call,
        Kind::ServiceFault,
        format!("the answer lacks {missing}"),
    )
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
}

const START: &str = "StartSession";
const RESUME: &str = "ResumeSession";
const TERMINATE: &str = "TerminateSession";

/// Bytes of a session id; the API says 96.
const MAX_SESSION_ID: usize = 256;

/// How often credentials are looked for that are not there.
const CREDENTIALS_PAUSE: Duration = Duration::from_secs(1);
