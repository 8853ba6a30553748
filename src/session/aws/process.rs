//! The `credential_process` of a profile: a program of the user that prints credentials.
//!
//! It runs in its own process group, which is killed when the wait for it ends: on timeout, on
//! cancellation and at the end of this process. (The SDK's own provider leaves a hanging program
//! running.) The size of its output is limited.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::pin::pin;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_ssm::primitives::{DateTime, DateTimeFormat};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;
use tracing::warn;

/// Runs a `credential_process` for each request.
#[derive(Clone)]
pub(super) struct Process {
    command: String,
    /// Used if the program does not print an account.
    account: Option<String>,
}

impl Process {
    pub(super) fn new(command: String, account: Option<String>) -> Self {
        Self { command, account }
    }

    async fn credentials(&self) -> provider::Result {
        let printed = match timeout(LIMIT, self.reported()).await {
            Ok(printed) => printed,
            Err(_) => {
                let seconds = LIMIT.as_secs();
                Err(format!("did not exit within {seconds} s and was killed"))
            }
        };
        let credentials = printed.and_then(|printed| self.parse(&printed));
        credentials.map_err(|why| CredentialsError::provider_error(self.failed(why)))
    }

    /// Runs the program, and warns at growing intervals that it is still running.
    async fn reported(&self) -> Result<Vec<u8>, String> {
        let mut run = pin!(self.run());
        let mut so_far = Duration::ZERO;
        loop {
            let pause = so_far.max(REPORT);
            if let Ok(printed) = timeout(pause, &mut run).await {
                return printed;
            }
            so_far += pause;
            warn!(
                program = self.program(),
                hint = "it may be waiting for a login; SIGUSR2 kills and restarts it",
                "the credential_process has been running for {} s, and is killed after {} s",
                so_far.as_secs(),
                LIMIT.as_secs(),
            );
        }
    }

    /// Runs the program and returns its stdout.
    async fn run(&self) -> Result<Vec<u8>, String> {
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0);
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| name.as_bytes().starts_with(TOKEN_VARIABLE)) {
            command.env_remove(name);
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("could not be started: {error}"))?;
        let group = ProcessGroup::of(child.id());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = {
            let reading = async {
                let errors = async {
                    read(stderr, MAX_ERR, &mut err).await;
                    Ok(())
                };
                tokio::try_join!(read_all(stdout, MAX_OUT, &mut out), errors)
            };
            let mut reading = pin!(reading);
            tokio::select! {
                status = child.wait() => {
                    // A background process that it started may keep its output open.
                    match timeout(MAX_REST, reading).await {
                        Ok(Err(too_long)) => return Err(too_long),
                        Ok(Ok(_)) | Err(_) => status,
                    }
                }
                done = &mut reading => match done {
                    Ok(_) => child.wait().await,
                    // The program may go on printing: returning kills it.
                    Err(too_long) => return Err(too_long),
                },
            }
        };
        let status = status.map_err(|error| format!("could not be waited for: {error}"))?;
        group.ended();
        if !status.success() {
            let sent = String::from_utf8_lossy(&err);
            let sent = match sent.trim() {
                "" => "it printed no error".to_owned(),
                sent => format!("it printed: {sent}"),
            };
            return Err(format!("failed with {status}; {sent}"));
        }
        Ok(out)
    }

    /// Parses the JSON object. Keys are case-insensitive, as in other SDKs. The parser's own
    /// messages are not used, since they could quote a secret.
    fn parse(&self, printed: &[u8]) -> Result<Credentials, String> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(printed)
            .map_err(|_| "printed something that is not a JSON object".to_owned())?;
        let value = |name: &str| {
            let mut fields = object.iter();
            let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value)
                .filter(|value| !value.is_null())
        };
        let text = |name: &'static str| match value(name) {
            None => Ok(None),
            Some(serde_json::Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("printed a `{name}` that is not a string")),
        };
        let needed = |name| text(name)?.ok_or_else(|| format!("printed no `{name}`"));
        match value("Version").map(serde_json::Value::as_u64) {
            Some(Some(1)) => {}
            Some(_) => return Err("printed a `Version` other than 1".to_owned()),
            None => return Err("printed no `Version`".to_owned()),
        }
        let expiry = text("Expiration")?.map(|text| expiry(&text)).transpose()?;
        let account = text("AccountId")?.or_else(|| self.account.clone());
        let mut builder = Credentials::builder()
            .access_key_id(needed("AccessKeyId")?)
            .secret_access_key(needed("SecretAccessKey")?)
            .provider_name("credential_process");
        builder.set_session_token(text("SessionToken")?);
        builder.set_expiry(expiry);
        builder.set_account_id(account.map(Into::into));
        Ok(builder.build())
    }

    /// Names the program without its arguments, which may contain a secret.
    fn failed(&self, why: String) -> Failed {
        let program = self.program().to_owned();
        Failed { program, why }
    }

    fn program(&self) -> &str {
        self.command.split_whitespace().next().unwrap_or_default()
    }
}

impl ProvideCredentials for Process {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process(..)")
    }
}

/// The error of a program.
#[derive(Debug, thiserror::Error)]
#[error("the credential_process {program} {why}")]
struct Failed {
    program: String,
    why: String,
}

fn expiry(text: &str) -> Result<SystemTime, String> {
    let bad = || "printed an `Expiration` that is not an RFC 3339 date".to_owned();
    let date = DateTime::from_str(text, DateTimeFormat::DateTimeWithOffset).map_err(|_| bad())?;
    SystemTime::try_from(date).map_err(|_| bad())
}

/// Reads to the end, or to an error.
///
/// # Errors
///
/// If there are more than `max` bytes.
async fn read_all(
    from: Option<impl AsyncRead + Unpin>,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let Some(from) = from else {
        return Ok(());
    };
    // An error is an end: the program has closed its output.
    let _read = from.take(max as u64 + 1).read_to_end(out).await;
    match out.len() > max {
        true => Err(format!("printed more than {max} bytes and was killed")),
        false => Ok(()),
    }
}

/// Reads to the end, or to an error, and keeps the first `max` bytes and one more.
async fn read(from: Option<impl AsyncRead + Unpin>, max: usize, kept: &mut Vec<u8>) {
    let Some(mut from) = from else {
        return;
    };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = (max + 1).saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// The process group of a running program. Killed when this is dropped.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(id: Option<u32>) -> Self {
        let id = id.and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(id) = id {
            running().insert(id.as_raw_nonzero().get());
        }
        Self(id)
    }

    /// The program has ended. Background processes that it started continue.
    fn ended(mut self) {
        self.forget();
    }

    fn forget(&mut self) -> Option<Pid> {
        let id = self.0.take()?;
        running().remove(&id.as_raw_nonzero().get());
        Some(id)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(id) = self.forget() {
            // An error means that it has just ended.
            let _ended = kill_process_group(id, Signal::KILL);
        }
    }
}

/// Kills every running `credential_process`. Called last, because the process exits without waiting
/// for its tasks.
pub fn kill_credential_processes() {
    for id in running().iter().copied() {
        if let Some(id) = Pid::from_raw(id) {
            // An error means that it has just ended.
            let _ended = kill_process_group(id, Signal::KILL);
        }
    }
}

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time until the first warning that a program is still running.
const REPORT: Duration = Duration::from_secs(5);

/// Timeout of a program: the user may have to confirm a login on a phone.
const LIMIT: Duration = Duration::from_secs(40);

/// How long output may follow the end of a program.
const MAX_REST: Duration = Duration::from_secs(2);

/// Maximum number of bytes of stdout.
const MAX_OUT: usize = 64 * 1024;

/// Maximum number of bytes of stderr kept for the error message.
const MAX_ERR: usize = 600;

/// How the names of the variables begin in which the AWS CLI hands tokens to its plugin.
const TOKEN_VARIABLE: &[u8] = b"AWS_SSM_START_SESSION_RESPONSE";

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(command: &str) -> Result<Credentials, String> {
        let process = Process::new(command.to_owned(), Some("111122223333".to_owned()));
        let asked = process.provide_credentials().await;
        asked.map_err(|error| std::error::Error::source(&error).unwrap().to_string())
    }

    #[tokio::test]
    async fn the_output_of_a_program_becomes_credentials() {
        let printed = r#"printf '{"version":1,"accesskeyid":"AKID","SecretAccessKey":"s","SessionToken":"t","Expiration":"2030-01-01T02:00:00+02:00"}'"#;

        let credentials = asked(printed).await.unwrap();

        assert_eq!(credentials.access_key_id(), "AKID");
        assert_eq!(credentials.session_token(), Some("t"));
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        assert_eq!(credentials.expiry(), Some(expected));
        assert_eq!(
            credentials.account_id().map(|id| id.as_str()),
            Some("111122223333")
        );
    }

    #[tokio::test]
    async fn errors_do_not_contain_secrets() {
        for (command, expected) in [
            ("echo log in first >&2; exit 3", "log in first"),
            ("exit 1", "it printed no error"),
            ("echo '{\"SecretAccessKey\": hidden'", "not a JSON object"),
            ("echo '{\"Version\": 2}'", "`Version` other than 1"),
            ("echo '{\"Version\": 1}'", "no `AccessKeyId`"),
            (
                "echo '{\"Version\": 1, \"Expiration\": \"hidden\"}'",
                "RFC 3339",
            ),
            ("head -c 100000 /dev/zero", "more than 65536 bytes"),
            ("cat /dev/zero", "more than 65536 bytes"),
            (
                "head -c 100000 /dev/zero; sleep 1000",
                "more than 65536 bytes",
            ),
            (
                "/nonexistent --secret=hidden",
                "the credential_process /nonexistent failed",
            ),
        ] {
            let error = asked(command).await.unwrap_err();

            assert!(error.contains(expected), "{command}: {error}");
            assert!(
                !error.contains("hidden") || command.starts_with('/'),
                "{command}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a_cancelled_program_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let (ids, path) = (directory.path().join("ids"), directory.path());
        let command = format!(
            "cd {}; sleep 1000 & echo $! $$ > new; mv new ids; wait",
            path.display()
        );
        let process = Process::new(command, None);

        let asking = process.provide_credentials();
        let started = async {
            while !ids.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            asked = asking => panic!("{asked:?}"),
            () = started => {}
        }

        for id in std::fs::read_to_string(ids).unwrap().split_whitespace() {
            let ended = async {
                while is_running(id) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let ended = timeout(Duration::from_secs(60), ended).await;
            assert!(ended.is_ok(), "{id} is still running");
        }
    }

    /// Returns whether a process exists and is not a zombie.
    fn is_running(id: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}
