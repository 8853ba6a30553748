//! One connection, from accept to its end.
//!
//! ```text
//!   permit ─▶ StartSession ─▶ websocket, handshake, probe ─▶ relay ─▶ flag, TerminateSession
//!   └───────────── connect_timeout ──────────────────────┘
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "a connection's deadline and duration begin here"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tracing::{Instrument, debug, info, info_span, warn};

use super::World;
use super::connection::Connection;
use super::relay::{NOT_TAKEN, Outcome, Patience, deliver, relay};
use crate::config::{self, Remote};
use crate::proto::{Options, Reason, Stats};
use crate::session::{self, Session, StartRequest};
use crate::tunnel::{self, Driver, Life, Step, Stream, Tunnel};

/// What every connection of a forward shares.
#[derive(Debug)]
pub(super) struct Serve {
    pub(super) settings: config::Forward,
    pub(super) world: World,
    /// Connections that may have a session.
    pub(super) permits: Semaphore,
    /// Connections that may be accepted.
    pub(super) slots: Arc<Semaphore>,
}

impl Serve {
    /// Serves a connection until it has ended or `stop` says true. Dropping this resets it.
    pub(super) async fn run(
        self: Arc<Self>,
        connection: Connection,
        _slot: OwnedSemaphorePermit,
        mut stop: watch::Receiver<bool>,
    ) {
        let begin = Instant::now();
        let mut drivers = JoinSet::new();
        let opened = tokio::select! {
            opened = self.open(begin, &mut drivers) => opened,
            _ = stop.wait_for(|stop| *stop) => return,
            () = connection.abandoned() => return debug!("the client left before its session was ready"),
        };
        match opened {
            Ok(opened) => self.carry(begin, connection, opened, stop).await,
            Err(failure) => {
                failure.tell();
                drop(connection);
            }
        }
        // The driver ends by itself once it was told to; the session is ended when it has.
        drop(tokio::time::timeout(MAX_GOODBYE, drivers.join_next()).await);
    }

    /// Everything before the first byte, within `connect_timeout`.
    async fn open(&self, begin: Instant, drivers: &mut JoinSet<()>) -> Result<Opened<'_>, Failure> {
        let deadline = begin + self.settings.connect_timeout;
        let permit = within(deadline, "a free connection", self.permits.acquire()).await?;
        let permit = permit.map_err(|_| Failure::Stopping)?;
        let start = self
            .world
            .sessions
            .start(self.world.service.clone(), self.request());
        let session = within(deadline, "StartSession", start)
            .await?
            .map_err(Failure::Session)?;
        let (mut tunnel, driver) = self.tunnel(session);
        let span = info_span!("tunnel", session = %tunnel.session_id());
        drivers.spawn(driver.run().instrument(span));
        let ready = timeout_at(deadline.into(), tunnel.ready()).await;
        match ready {
            Ok(Ok(agent_version)) => debug!(agent_version, "tunnel ready"),
            Ok(Err(error)) => return Err(Failure::Tunnel(error)),
            Err(_) => {
                tunnel.close();
                return Err(Failure::Late(tunnel.step()));
            }
        }
        let stream = tunnel
            .open_stream()
            .map_err(|error| Failure::Stream(error.to_string()))?;
        Ok(Opened {
            permit,
            tunnel,
            stream,
        })
    }

    fn tunnel(&self, session: Session) -> (Tunnel, Driver) {
        let config::Upload {
            rate,
            payload,
            window,
        } = self.settings.upload;
        let options = Options {
            upload_rate: rate,
            upload_payload: payload,
            upload_window: window,
        };
        let life = Life {
            options,
            resume_timeout: self.settings.resume_timeout,
            nudged: self.world.nudged.clone(),
            pool: self.world.pool.clone(),
        };
        Driver::new(session, self.world.network.clone(), life)
    }

    fn request(&self) -> StartRequest {
        let settings = &self.settings;
        let parameters = match &settings.remote {
            Remote::Port(port) => vec![("portNumber", port.to_string())],
            Remote::Host { host, port } => {
                vec![("host", host.clone()), ("portNumber", port.to_string())]
            }
        };
        let reason = format!("{}, forward {}", self.world.origin, settings.name);
        let reason = reason.chars().take(MAX_REASON).collect();
        StartRequest {
            target: settings.target.to_string(),
            document: settings.document().to_owned(),
            parameters,
            reason,
        }
    }

    /// From the first byte to the last.
    async fn carry(
        &self,
        begin: Instant,
        connection: Connection,
        opened: Opened<'_>,
        mut stop: watch::Receiver<bool>,
    ) {
        let Opened {
            tunnel,
            stream,
            permit,
        } = opened;
        let settings = &self.settings;
        let patience = patience(settings);
        let outcome = tokio::select! {
            outcome = relay(&connection, &stream, patience) => Some(outcome),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        // Whoever is reset is reset now, before anything else is waited for.
        let ended = (outcome == Some(Outcome::End)).then_some(connection);
        let delivered = match outcome {
            Some(Outcome::ClientGone | Outcome::Quiet) => tokio::select! {
                delivered = deliver(&stream, patience.delivery) => delivered,
                () = stopped_for_long(&mut stop) => Err("stopping".to_owned()),
            },
            Some(Outcome::Undelivered) => Err(NOT_TAKEN.to_owned()),
            Some(Outcome::End | Outcome::Lost(_)) | None => Ok(()),
        };
        drop(stream);
        tunnel.close();
        let failure = tunnel.failure();
        let tale = Tale {
            outcome: outcome.as_ref(),
            failure: failure.as_deref(),
            stats: tunnel.stats(),
            time: begin.elapsed(),
        };
        tale.tell(settings);
        if let Err(error) = delivered {
            warn!(error, "the last bytes of the client may not have arrived");
        }
        drop(permit);
        if let Some(connection) = ended {
            tokio::select! {
                () = connection.finish() => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }
}

/// Waits for a stop, and then as long as the last words of a client commonly take that left just
/// before it.
async fn stopped_for_long(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could stop is gone, which is a stop too.
    drop(stop.wait_for(|stop| *stop).await);
    tokio::time::sleep(LAST_WORDS).await;
}

/// A connection's way to its destination.
struct Opened<'a> {
    tunnel: Tunnel,
    stream: Stream,
    permit: SemaphorePermit<'a>,
}

/// A destination may be slow to take what a client had sent before it left, and a broken websocket
/// may have to be resumed first.
fn patience(settings: &config::Forward) -> Patience {
    let quiet = settings.half_close_timeout;
    Patience {
        quiet,
        delivery: settings.resume_timeout + quiet,
    }
}

async fn within<F: Future>(deadline: Instant, step: &str, future: F) -> Result<F::Output, Failure> {
    timeout_at(deadline.into(), future)
        .await
        .map_err(|_| Failure::Late(Step::of(step)))
}

/// Why a connection never carried a byte.
#[derive(Debug)]
enum Failure {
    Session(session::Error),
    Tunnel(Arc<tunnel::Error>),
    Stream(String),
    Late(Step),
    Stopping,
}

impl Failure {
    fn tell(&self) {
        match self {
            Self::Session(error) => {
                warn!(%error, hint = filled(error.hint()), "no session; connection reset");
            }
            Self::Tunnel(error) => {
                warn!(%error, hint = filled(error.hint()), "no tunnel; connection reset");
            }
            Self::Stream(error) => warn!(error, "no stream; connection reset"),
            Self::Late(Step { name, hint }) => {
                let slow = "raise `connect_timeout` if this is just slow";
                let hint = filled(hint).unwrap_or(slow);
                warn!(
                    waiting_for = name,
                    hint, "not ready within connect_timeout; connection reset"
                );
            }
            Self::Stopping => debug!("stopping; connection reset"),
        }
    }
}

/// What is told of a connection that has ended.
struct Tale<'a> {
    /// `None`: the daemon stops.
    outcome: Option<&'a Outcome>,
    /// Why the tunnel ended, if it has.
    failure: Option<&'a tunnel::Error>,
    stats: Stats,
    time: Duration,
}

impl Tale<'_> {
    /// One line.
    fn tell(self, settings: &config::Forward) {
        let (sent, received) = (self.stats.bytes_sent, self.stats.bytes_received);
        let (destination, time) = (&settings.remote, self.time);
        match self.outcome {
            Some(Outcome::Lost(Reason::Refused)) => {
                let hint = tunnel::Error::Ended(Reason::Refused).hint();
                warn!(%destination, hint, "the agent could not connect to the destination; connection reset");
            }
            Some(Outcome::Lost(reason)) => {
                let ended = tunnel::Error::Ended(reason.clone());
                let error = self.failure.unwrap_or(&ended);
                let hint = filled(error.hint());
                warn!(%error, hint, sent, received, ?time, "session lost; connection reset");
            }
            Some(Outcome::Quiet) => {
                info!(
                    sent,
                    received,
                    ?time,
                    "half-closed and quiet; connection reset"
                );
            }
            Some(Outcome::End | Outcome::ClientGone | Outcome::Undelivered)
                if sent + received == 0 =>
            {
                debug!(?time, "connection ended without a byte");
            }
            Some(Outcome::End) => {
                info!(sent, received, ?time, "connection ended by the destination");
            }
            Some(Outcome::ClientGone | Outcome::Undelivered) => {
                info!(sent, received, ?time, "connection ended by the client");
            }
            None => info!(sent, received, ?time, "stopping; connection reset"),
        }
    }
}

/// A hint, if there is one: an empty field is left out.
fn filled(hint: &str) -> Option<&str> {
    Some(hint).filter(|hint| !hint.is_empty())
}

/// How long a stop waits for what a client had said that is gone already.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The flag on the channel waits a second for its acknowledgement.
const MAX_GOODBYE: Duration = Duration::from_secs(3);

/// What the API takes for a reason, in characters.
const MAX_REASON: usize = 256;
