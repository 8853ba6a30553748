//! Pushes a public key to an instance before a connection to its sshd is used.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};
use tracing::debug;

use super::aws::SsmClient;
use super::error::{Error, ErrorKind, PUSH_KEY, Transience};
use super::public_key::PushedKey;
use crate::clock;

impl SsmClient {
    /// Makes the sshd of an instance accept a key for 60 s. Throttled calls and transient failures
    /// are repeated until `deadline`.
    ///
    /// # Errors
    ///
    /// The error of the last call, or that there was no response until `deadline`.
    pub async fn push_key(
        &self,
        instance: &str,
        key: &PushedKey,
        deadline: Instant,
    ) -> Result<(), Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = timeout_at(deadline.into(), self.send_public_key(instance, key)).await;
            let error = match sent {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => {
                    let why = "no response within connect_timeout";
                    return Err(Error::new(PUSH_KEY, ErrorKind::Unreachable, why));
                }
            };
            let may_pass =
                error.kind() == ErrorKind::Throttled || error.transience() != Transience::None;
            if !may_pass || clock::now() + pause >= deadline {
                return Err(error);
            }
            debug!(%error, ?pause, "the key was not pushed; retrying");
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

/// The first pause between calls, and the limit of its doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(2);
