//! The conversation that ends with an error message in the protocol of the client.
//!
//! A state machine without I/O: the explainer (`explainer.rs`) passes it the bytes of the client and
//! sends what it returns. It never sends a message to a client that speaks another protocol, such as
//! TLS, as far as that can be seen from its first bytes.
//!
//! ```text
//!             ┌── Send ──┐
//!             ▼          │
//!   bytes ──▶ Read ──────┴──▶ End: message and FIN
//!                        └──▶ Reset: no message
//! ```
//!
//! | protocol | the message follows |
//! |---|---|
//! | PostgreSQL | the startup packet; TLS and GSSAPI are declined before |
//! | MySQL | nothing: the server speaks first |
//! | Redis | the first line of the first command |
//! | HTTP | the header of the request |
//! | SSH | nothing: both sides speak at once |

mod explanation;
mod http_response;
mod mysql;
mod postgres;
mod redis;
mod ssh;

pub(super) use self::explanation::Explanation;
use crate::config::ClientProtocol;

/// A conversation with one client.
#[derive(Debug)]
pub(super) struct Conversation {
    protocol: ClientProtocol,
    explanation: Explanation,
    /// What the client has sent and was not answered yet; at most [`MAX_REQUEST`] bytes.
    request: Vec<u8>,
    /// Number of questions that were answered before the message.
    declined: usize,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read more from the client.
    Read,
    /// Send this, and continue with the bytes that the client has sent already.
    Send(&'static [u8]),
    /// Send this, and close the connection gracefully.
    End(Vec<u8>),
    /// Reset the connection: the client expects no message, or none that this protocol has.
    Reset,
}

impl Conversation {
    pub(super) fn new(protocol: ClientProtocol, explanation: Explanation) -> Self {
        Self {
            protocol,
            explanation,
            request: Vec::new(),
            declined: 0,
        }
    }

    /// Handles bytes of the client; the first ones may be none. After `Send`, call it again with
    /// none.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) -> Step {
        let room = MAX_REQUEST - self.request.len();
        let is_full = bytes.len() >= room;
        self.request.extend(&bytes[..bytes.len().min(room)]);
        let step = self.step();
        let is_too_long = is_full && step == Step::Read;
        if is_too_long { Step::Reset } else { step }
    }

    fn step(&mut self) -> Step {
        match self.protocol {
            ClientProtocol::Postgres => self.postgres(),
            ClientProtocol::Mysql => Step::End(mysql::message(&self.explanation)),
            ClientProtocol::Redis => redis::respond(&self.request, &self.explanation),
            ClientProtocol::Http => http_response::respond(&self.request, &self.explanation),
            ClientProtocol::Ssh => Step::End(ssh::message(&self.explanation)),
        }
    }

    fn postgres(&mut self) -> Step {
        match postgres::packet(&self.request) {
            postgres::Packet::Incomplete => Step::Read,
            postgres::Packet::Encryption if self.declined < postgres::MAX_DECLINED => {
                self.declined += 1;
                self.request.drain(..postgres::REQUEST_LENGTH);
                Step::Send(postgres::DECLINED)
            }
            postgres::Packet::Startup => Step::End(postgres::message(&self.explanation)),
            postgres::Packet::Encryption | postgres::Packet::Other => Step::Reset,
        }
    }
}

/// Maximum number of bytes of a request that are kept. A longer header is reset.
pub(super) const MAX_REQUEST: usize = 16 * 1024;

#[cfg(test)]
pub(super) mod tests;
