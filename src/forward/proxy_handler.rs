//! Handles one connection of a proxy: what comes before and instead of a session.
//!
//! ```text
//!   handshake ─▶ rules ─▶ permits, session, stream ─▶ success ─▶ relay
//!       │ invalid   │ denied           │ failed
//!       └───────────┴──────────────────┴─▶ error of the client's protocol ─▶ close
//! ```
//!
//! A client that is silent in the handshake holds no permit but that of the accept. What a client
//! sends after its request is the begin of its upload.

use std::io;
use std::time::Duration;

use tokio::time::{timeout, timeout_at};

use super::access_log::End;
use super::client::Connection;
use super::closing::close_answered;
use super::connections::{ActiveConnection, TrackedConnection};
use super::error::ConnectFailure;
use super::handler::Handler;
use super::opening::OpenConnection;
use super::pool_handle::{AcceptPermit, SlotRefusal};
use super::proxy::{Decoded, Handshake, Protocol, ProxyRequest, Rejection, Status, reply, success};
use super::shutdown::ShutdownWatch;
use crate::config;
use crate::printable::Printable;
use crate::telemetry::EndReason;

impl Handler {
    /// Serves a connection of a proxy. Returns how it ended, if that is not recorded yet.
    pub(super) async fn serve_proxy(
        &self,
        tracked: &TrackedConnection,
        connection: Connection,
        accept_permit: AcceptPermit,
        mut stop: ShutdownWatch,
        allow: &config::Allow,
    ) -> Option<End> {
        let active = tracked.active();
        let waiting = self.metrics.waiting.count();
        let opening = self.open_requested(&connection, active, &accept_permit, allow);
        let opened = tokio::select! {
            opened = opening => opened,
            () = stop.draining() => Err(Unserved::Ended(EndReason::Stopped)),
            () = active.close_requested() => Err(Unserved::Ended(EndReason::ClosedByOperator)),
        };
        drop(waiting);
        match opened {
            Ok((protocol, opened)) => {
                // A client that takes no bytes is noticed by the relay.
                let _sent = send(&connection, success(protocol)).await;
                self.relay(tracked, connection, opened, stop).await;
                None
            }
            Err(Unserved::Ended(reason)) => Some(End::new(reason)),
            Err(Unserved::Refused { answer, refusal }) => {
                self.end_answered(tracked, connection, answer, *refusal, stop)
                    .await;
                None
            }
        }
    }

    /// Reads the request of a client and opens a stream to its destination.
    async fn open_requested(
        &self,
        connection: &Connection,
        active: &ActiveConnection,
        accept_permit: &AcceptPermit,
        allow: &config::Allow,
    ) -> Result<(Protocol, OpenConnection<'_>), Unserved> {
        let (request, first) = self.receive_request(connection, active).await?;
        let ProxyRequest {
            protocol,
            destination,
        } = request;
        active.set_destination(Printable::of(&destination));
        if !allow.permits(&destination) {
            let failure = ConnectFailure::Denied(Printable::of(&destination));
            let refusal = self.deduplicated(SlotRefusal::of(failure));
            return Err(Unserved::refused(protocol, refusal));
        }
        let deadline = active.accepted() + self.settings.connect_timeout;
        tokio::select! {
            opened = self.open(active, accept_permit, Some(&destination), deadline) => match opened {
                Ok(opened) => Ok((protocol, OpenConnection { first, ..opened })),
                Err(refusal) => Err(Unserved::refused(protocol, refusal)),
            },
            () = left(connection, !first.is_empty()) => Err(Unserved::Ended(EndReason::ClientLeft)),
        }
    }

    /// Reads the request of a client in time. Returns it and the bytes after it.
    async fn receive_request(
        &self,
        connection: &Connection,
        active: &ActiveConnection,
    ) -> Result<(ProxyRequest, Vec<u8>), Unserved> {
        let limit = HANDSHAKE_TIMEOUT.min(self.settings.connect_timeout);
        let deadline = active.accepted() + limit;
        let slot = self.handshakes.take();
        let received = tokio::select! {
            // The request first: it may have arrived with the client that displaces this one.
            biased;
            received = timeout_at(deadline.into(), receive(connection)) => {
                received.unwrap_or_else(|_| Err(NoRequest::Rejected(none(LATE))))
            }
            () = slot.displaced() => Err(NoRequest::Rejected(none(DISPLACED))),
        };
        drop(slot);
        received.map_err(|error| match error {
            NoRequest::Left => Unserved::Ended(EndReason::ClientLeft),
            NoRequest::Rejected(rejection) => self.rejected(rejection),
        })
    }

    fn rejected(&self, rejection: Rejection) -> Unserved {
        let Rejection {
            protocol,
            status,
            why,
        } = rejection;
        let answer = protocol.map(|protocol| reply(protocol, status, &why, ""));
        let failure = match status == Status::Denied {
            true => ConnectFailure::Denied(why),
            false => ConnectFailure::BadRequest(why),
        };
        let refusal = Box::new(self.deduplicated(SlotRefusal::of(failure)));
        Unserved::Refused { answer, refusal }
    }

    /// Sends an answer, records the end, and closes the connection. Without an answer it is reset.
    async fn end_answered(
        &self,
        tracked: &TrackedConnection,
        connection: Connection,
        answer: Option<Vec<u8>>,
        refusal: SlotRefusal,
        stop: ShutdownWatch,
    ) {
        let is_sent = match answer {
            Some(answer) => send(&connection, &answer).await.is_ok(),
            None => false,
        };
        let connection = Some(connection).filter(|_| is_sent);
        let hint = hint(&refusal.failure).into();
        let mut end = End {
            is_answered: is_sent,
            ..refusal.end()
        };
        if let Some(failure) = &mut end.failure {
            failure.hint = hint;
        }
        tracked.record(end);
        if let Some(connection) = connection {
            close_answered(connection, &self.lingering, stop).await;
        }
    }
}

/// Why a connection has no stream.
enum Unserved {
    /// It ended for this reason, and is reset.
    Ended(EndReason),
    /// It is refused. Without an answer that the client would understand, it is reset.
    Refused {
        answer: Option<Vec<u8>>,
        refusal: Box<SlotRefusal>,
    },
}

impl Unserved {
    fn refused(protocol: Protocol, refusal: SlotRefusal) -> Self {
        let failure = &refusal.failure;
        let status = Status::of(failure.class());
        let answer = reply(protocol, status, &Printable::of(failure), hint(failure));
        Self::Refused {
            answer: Some(answer),
            refusal: Box::new(refusal),
        }
    }
}

/// Returns what the user of a proxy can do about a failure.
fn hint(failure: &ConnectFailure) -> &str {
    match failure.is_of_destination() {
        true => DESTINATION_HINT,
        false => failure.hint().unwrap_or_default(),
    }
}

/// Why there is no request.
enum NoRequest {
    /// The client has closed, or its connection failed.
    Left,
    Rejected(Rejection),
}

/// Returns the rejection of a client that has sent no complete request.
fn none(why: &'static str) -> Rejection {
    Rejection {
        protocol: None,
        status: Status::BadRequest,
        why: why.into(),
    }
}

/// Waits until the client has left. What it sent before it closed must be delivered, so if it
/// `has_sent` bytes after its request, only a reset counts.
async fn left(connection: &Connection, has_sent: bool) {
    match has_sent {
        true => connection.failed().await,
        false => connection.closed_while_waiting().await,
    }
}

/// Reads the request of a client. Returns it and the bytes after it.
async fn receive(connection: &Connection) -> Result<(ProxyRequest, Vec<u8>), NoRequest> {
    let mut handshake = Handshake::default();
    loop {
        match handshake.poll() {
            Decoded::Incomplete => match connection.read().await {
                Ok(bytes) if !bytes.is_empty() => handshake.handle_input(&bytes),
                Ok(_) | Err(_) => return Err(NoRequest::Left),
            },
            Decoded::Greeted(answer) => {
                let sent = send(connection, answer).await;
                sent.map_err(|_| NoRequest::Left)?;
            }
            Decoded::Request(request) => return Ok((request, handshake.into_rest())),
            Decoded::Rejected(rejection) => return Err(NoRequest::Rejected(rejection)),
        }
    }
}

/// Sends an answer, which is small enough for the buffer of any socket that is read at all.
async fn send(connection: &Connection, answer: &[u8]) -> io::Result<()> {
    let sent = timeout(ANSWER_TIMEOUT, connection.write_all(answer, |_| ())).await;
    sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What to do about a destination that cannot be reached.
const DESTINATION_HINT: &str =
    "the target resolves the name, and must be able to reach the destination";

const LATE: &str = "no complete request was received in time";
const DISPLACED: &str = "no complete request was received, and too many clients are waited for";

/// Maximum time for the request of a client, from the accept.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time for sending an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
