//! Roles that need the code of an MFA device.
//!
//! Interactive commands may ask for the code, after [`allow_questions`]. The prompt uses the
//! terminal itself (`/dev/tty`), since stdin and stdout may carry a connection. A daemon never
//! asks. The code is used once and not stored.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::assume_role::AssumeRoleError;
use super::files::Profiles;
use super::source::SESSION_NAME;
use super::values::{OF_PROVIDER, checked};

static ALLOWED: AtomicBool = AtomicBool::new(false);

/// Allows this process to ask for MFA codes on its terminal, if it has one.
pub fn allow_questions() {
    ALLOWED.store(true, Ordering::Relaxed);
}

/// Returns whether a code can be asked for.
pub(super) fn can_ask() -> bool {
    ALLOWED.load(Ordering::Relaxed) && terminal().is_some()
}

/// Returns the first profile of a chain whose role needs a code.
pub(super) fn needing_code<'a>(profiles: &Profiles, chain: &'a [String]) -> Option<&'a str> {
    let mut names = chain.iter().map(String::as_str);
    names.find(|profile| {
        let has = |key| profiles.get(profile, key).is_some();
        has("mfa_serial") && has("role_arn") && !has("web_identity_token_file")
    })
}

/// Returns the provider of a profile with a role in its chain that needs a code; `None` if no role
/// needs one. `base` returns the provider of the last profile of the chain.
pub(super) fn provider(
    profiles: &Profiles,
    profile: &str,
    config: &SdkConfig,
    base: impl FnOnce(&str) -> SharedCredentialsProvider,
) -> Option<SharedCredentialsProvider> {
    let chain = profiles.chain(profile).ok()?.profiles;
    needing_code(profiles, &chain)?;
    let last = chain.last()?;
    let own = match keys(profiles, last) {
        Some(keys) => SharedCredentialsProvider::new(keys),
        None => base(last),
    };
    let is_own_role = chain.len() == 1 && keys(profiles, last).is_some();
    let roles = match is_own_role {
        true => &chain[..],
        false => &chain[..chain.len() - 1],
    };
    let assumed = roles.iter().rev().filter_map(|name| {
        let get = |key| profiles.get(name, key).map(str::to_owned);
        Some(Role {
            arn: get("role_arn")?,
            session_name: get("role_session_name").unwrap_or_else(|| SESSION_NAME.to_owned()),
            external_id: get("external_id"),
            seconds: get("duration_seconds").and_then(|seconds| seconds.parse().ok()),
            mfa_serial: get("mfa_serial"),
            config: config.clone(),
            own: own.clone(),
        })
    });
    Some(assumed.fold(own.clone(), |own, role| {
        SharedCredentialsProvider::new(Role { own, ..role })
    }))
}

fn keys(profiles: &Profiles, profile: &str) -> Option<Credentials> {
    let get = |key| profiles.get(profile, key).map(str::to_owned);
    let (key, secret) = (get("aws_access_key_id")?, get("aws_secret_access_key")?);
    let token = get("aws_session_token");
    Some(Credentials::new(key, secret, token, None, "profile"))
}

/// A role of a profile.
struct Role {
    arn: String,
    session_name: String,
    external_id: Option<String>,
    seconds: Option<i32>,
    mfa_serial: Option<String>,
    config: SdkConfig,
    /// The credentials that assume it.
    own: SharedCredentialsProvider,
}

impl Role {
    async fn credentials(&self) -> provider::Result {
        let own = self.own.provide_credentials().await?;
        let own = checked(&own, OF_PROVIDER)?;
        let config = aws_sdk_sts::config::Builder::from(&self.config).credentials_provider(own);
        let code = match &self.mfa_serial {
            Some(serial) => Some(
                ask(serial)
                    .await
                    .map_err(CredentialsError::provider_error)?,
            ),
            None => None,
        };
        let call = Client::from_conf(config.build())
            .assume_role()
            .role_arn(&self.arn)
            .role_session_name(&self.session_name)
            .set_external_id(self.external_id.clone())
            .set_duration_seconds(self.seconds)
            .set_serial_number(self.mfa_serial.clone())
            .set_token_code(code);
        let answer = call.send().await.map_err(|error| {
            let error = CredentialsError::provider_error(error);
            CredentialsError::provider_error(AssumeRoleError::new(&self.arn, &error))
        })?;
        let given = answer.credentials.ok_or_else(|| {
            CredentialsError::unhandled("the answer of AssumeRole has no credentials")
        })?;
        let expiry = SystemTime::try_from(given.expiration).ok();
        let token = Some(given.session_token);
        let (key, secret) = (given.access_key_id, given.secret_access_key);
        let credentials = Credentials::new(key, secret, token, expiry, "AssumeRole");
        checked(&credentials, OF_PROVIDER)
    }
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role({})", self.arn)
    }
}

/// No code was entered.
#[derive(Debug, thiserror::Error)]
#[error("no MFA code: {0}")]
struct NoCode(String);

/// Asks the user for the code of a device. Dropping the future ends the prompt.
async fn ask(serial: &str) -> Result<String, NoCode> {
    let question = format!(
        "MFA code for {}: ",
        crate::printable::Printable::from(serial)
    );
    let (answer, code) = oneshot::channel();
    // In a separate thread, because the process exits without waiting for it.
    thread::spawn(move || {
        let asked = put(&question, || answer.is_closed());
        // An error means that the receiver was dropped.
        let _unwanted = answer.send(asked);
    });
    let code = code
        .await
        .map_err(|_| NoCode("the question failed".to_owned()))?;
    code.map_err(NoCode)
}

/// Prints the prompt to the terminal and reads one line, unless `is_over` returns true first.
fn put(question: &str, is_over: impl Fn() -> bool) -> Result<String, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut terminal = terminal().ok_or("there is no terminal to ask for it")?;
    let failed = |error: std::io::Error| format!("the terminal cannot be used: {error}");
    terminal.write_all(question.as_bytes()).map_err(failed)?;
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < MAX_LINE {
        if is_over() {
            return Err("nobody waits for it any longer".to_owned());
        }
        let mut readable = [PollFd::new(&terminal, PollFlags::IN)];
        if matches!(poll(&mut readable, Some(&POLL)), Ok(0) | Err(Errno::INTR)) {
            continue;
        }
        let mut byte = [0];
        match terminal.read(&mut byte).map_err(failed)? {
            0 => return Err("the terminal was closed".to_owned()),
            _ => line.push(byte[0]),
        }
    }
    let code = String::from_utf8_lossy(&line).trim().to_owned();
    let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit());
    is_code
        .then_some(code)
        .ok_or_else(|| "expected the digits that the device shows".to_owned())
}

fn terminal() -> Option<File> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
    opened.ok()
}

/// Interval at which `is_over` is checked.
const POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Maximum number of bytes in a line.
const MAX_LINE: usize = 64;
