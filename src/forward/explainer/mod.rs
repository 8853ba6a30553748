//! Sends a client an error message in its own protocol when its connection is not served
//! (docs/interfaces.md, section 7).
//!
//! This begins after the connection has returned its slots and permits, and its end was counted. It
//! takes at most [`TIME_LIMIT`], is aborted by a forced stop, and the number of such clients is
//! limited. Beyond that, and if the client sends nothing that can be answered, it is reset as without
//! `explain`. A clean end therefore always follows an error message, and never bytes of the
//! destination.

use std::io;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::access_log::Conclusion;
use super::client::Connection;
use super::connections::ActiveConnection;
use super::explain::{Conversation, Explanation, Step};
use super::shutdown::ShutdownWatch;
use crate::config::{self, ClientProtocol};

/// Explains ends to the clients of a forward.
#[derive(Debug)]
pub(super) struct Explainer {
    /// `None`: clients are reset.
    protocol: Option<ClientProtocol>,
    forward: String,
    /// Limits the clients that are waited for.
    slots: Semaphore,
}

impl Explainer {
    /// Creates the explainer of a forward, for at most `slots` clients at once.
    pub(super) fn new(settings: &config::Forward, slots: usize) -> Self {
        Self {
            protocol: settings.client_protocol(),
            forward: settings.name.clone(),
            slots: Semaphore::new(slots),
        }
    }

    /// Returns whether the client of an open connection can still get a message: it has no byte of
    /// the destination.
    pub(super) fn can_explain(&self, active: &ActiveConnection) -> bool {
        self.protocol.is_some() && active.counters.received() == 0
    }

    /// Sends the client a message and closes the connection, or resets it. `first` are the bytes that
    /// were read from it.
    pub(super) async fn explain(
        &self,
        conclusion: Option<Conclusion>,
        connection: Connection,
        first: Vec<u8>,
        stop: &mut ShutdownWatch,
    ) {
        let (Some(conclusion), Some(protocol)) = (conclusion, self.protocol) else {
            return;
        };
        let is_local = connection.peer().is_local();
        let Some(explanation) = Explanation::of(conclusion.record(), &self.forward, is_local)
        else {
            return;
        };
        let Ok(_slot) = self.slots.try_acquire() else {
            debug!("too many clients are getting error messages; resetting this one");
            return;
        };
        let conversation = Conversation::new(protocol, explanation);
        let explained = async {
            match converse(&connection, conversation, first).await {
                Ok(true) => {
                    conclusion.explained(protocol);
                    connection.close_after_message().await;
                }
                Ok(false) => debug!(protocol = protocol.name(), "no request to respond to"),
                Err(error) => debug!(%error, "the client left"),
            }
        };
        tokio::select! {
            biased;
            () = stop.aborting() => {}
            explained = timeout(TIME_LIMIT, explained) => if explained.is_err() {
                debug!("the client did not send a request, or did not close, in time");
            }
        }
    }
}

/// Talks to the client until it has the message. Returns false if it must be reset.
async fn converse(
    connection: &Connection,
    mut conversation: Conversation,
    first: Vec<u8>,
) -> io::Result<bool> {
    let mut bytes = first;
    loop {
        match conversation.handle_bytes(&bytes) {
            Step::Read => {
                bytes = connection.read().await?;
                if bytes.is_empty() {
                    return Ok(false);
                }
            }
            Step::Send(response) => {
                connection.write_all(response, |_| ()).await?;
                bytes.clear();
            }
            Step::End(message) => {
                connection.write_all(&message, |_| ()).await?;
                return Ok(true);
            }
            Step::Reset => return Ok(false),
        }
    }
}

/// For the request, the message, and until the client has closed.
const TIME_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
