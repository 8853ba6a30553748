//! A forward whose one connection is stdin and stdout.
//!
//! It has no listener and needs no daemon; from the pool on it works like any other forward.
//!
//! ```text
//!   Opening ──▶ Open ──▶ Over(End, Gone, Stopped, Quiet, Failed)
//!      └───────────────────▲
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::field::Empty;
use tracing::{Instrument, error_span, warn};

use super::Context;
use super::client::{Connection, IoFault, IoFaults, Standard};
use super::error::ConnectFailure;
use super::handler::{Handler, timeouts};
use super::pool_task::PoolTask;
use super::relay::{Outcome, RelayTimeouts};
use super::shutdown::{ShutdownWatch, Stop};
use crate::clock;
use crate::config;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::session::ErrorKind;
use crate::telemetry::ForwardMetrics;
use crate::tunnel;

/// A forward for one connection.
#[derive(Debug)]
pub struct StdioForward {
    serve: Handler,
    supplier: PoolTask,
    connection: Connection,
    faults: IoFaults,
}

impl StdioForward {
    /// Creates a forward for `settings`, ignoring its local addresses.
    ///
    /// # Errors
    ///
    /// If stdin or stdout cannot be registered with the runtime.
    pub fn new(
        settings: config::Forward,
        context: Context,
        standard: Standard,
    ) -> io::Result<Self> {
        let (connection, faults) = Connection::standard(standard)?;
        let settings = Arc::new(settings);
        let timeouts = RelayTimeouts {
            delivery: FAREWELL,
            flush_total: Some(FAREWELL),
            ..timeouts(&settings)
        };
        let (all_permits, dump_connections) = (
            Arc::clone(&context.permits),
            context.dump_connections.clone(),
        );
        let metrics = Arc::new(ForwardMetrics::default());
        let (pool, supplier) = PoolTask::new(Arc::clone(&settings), context, Arc::clone(&metrics));
        let serve = Handler {
            settings,
            timeouts,
            pool,
            permits: Semaphore::new(1),
            all_permits,
            accept_permits: Arc::new(Semaphore::new(1)),
            lingering: Semaphore::new(1),
            dump_connections,
            metrics,
        };
        Ok(Self {
            serve,
            supplier,
            connection,
            faults,
        })
    }

    /// Serves the connection, reports its progress, and then terminates its session.
    pub async fn run(self, stop: watch::Receiver<Stop>, progress: watch::Sender<StdioStage>) {
        let Self {
            serve,
            supplier,
            connection,
            faults,
        } = self;
        let span = error_span!("connection", session = Empty, stream = Empty);
        let stop = ShutdownWatch::new(stop);
        let (end, ended) = watch::channel(false);
        let mut supplying = JoinSet::new();
        supplying.spawn(supplier.run(stop.clone(), ended).instrument(span.clone()));
        let ending = carry(&serve, connection, stop, &progress);
        let ending = ending.instrument(span).await;
        // Regardless of the outcome of the relay: bytes were lost here.
        let fault = faults.borrow().clone();
        let ending = fault.map_or(ending, |fault| Ending::Failed(StdioError::here(fault)));
        progress.send_replace(StdioStage::Over(ending));
        end.send_replace(true);
        while let Some(done) = supplying.join_next().await {
            if let Err(error) = done {
                warn!(%error, "the pool task panicked and its tunnels are lost");
            }
        }
    }
}

async fn carry(
    serve: &Handler,
    connection: Connection,
    mut stop: ShutdownWatch,
    progress: &watch::Sender<StdioStage>,
) -> Ending {
    let begin = clock::now();
    let Ok(slot) = Arc::clone(&serve.accept_permits)
        .acquire_owned()
        .await
        .map(Arc::new)
    else {
        return Ending::Stopped;
    };
    let opened = tokio::select! {
        opened = serve.open(begin, &slot) => opened,
        () = stop.asked() => return Ending::Stopped,
        () = connection.gone() => return Ending::Gone,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(refusal) => return Ending::Failed(StdioError::before(&refusal.failure)),
    };
    progress.send_replace(StdioStage::Open);
    match serve.carry(begin, connection, opened, stop).await {
        (Some(Outcome::DestinationClosed), _) => Ending::End,
        (Some(Outcome::EndedEarly), _) => Ending::Failed(StdioError::ended_early()),
        (Some(Outcome::ClientClosed), _) => Ending::Gone,
        (Some(Outcome::UploadIncomplete), _) => Ending::Failed(StdioError::undelivered()),
        (Some(Outcome::HalfCloseTimeout), _) => Ending::Quiet,
        (Some(Outcome::Lost(reason)), failure) => {
            Ending::Failed(StdioError::after(reason, failure.as_deref()))
        }
        (None, _) => Ending::Stopped,
    }
}

/// Progress of the connection.
#[derive(Clone, Debug)]
pub enum StdioStage {
    /// No byte can be carried yet.
    Opening,
    /// Bytes are carried.
    Open,
    /// The connection has ended.
    Over(Ending),
}

/// How the connection ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The destination ended, and stdout has every byte of it.
    End,
    /// The reader of stdout is gone, and the destination has what was read from stdin.
    Gone,
    /// A stop was requested.
    Stopped,
    /// stdin ended, and then nothing moved for too long.
    Quiet,
    /// It could not be opened, was lost, or stdin or stdout failed.
    Failed(StdioError),
}

/// Failure of the connection, for the user and for programs.
#[derive(Clone, Debug)]
pub struct StdioError {
    /// Description.
    pub what: Printable,
    /// What to do about it; empty if nothing is known.
    pub hint: Printable,
    /// Failure class.
    pub class: Class,
}

/// Failure classes that callers distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The API or Session Manager returned an error.
    Session(ErrorKind),
    /// The destination, or the network path to it, is not available.
    Unavailable,
    /// A timeout.
    Late,
    /// The document opens another kind of session.
    Document,
    /// An open connection was lost.
    Lost,
}

impl StdioError {
    /// Failure before a stream was open.
    fn before(failure: &ConnectFailure) -> Self {
        let class = match failure {
            ConnectFailure::Session(error) => Class::Session(error.kind()),
            ConnectFailure::Tunnel(error) => class_of(error),
            ConnectFailure::Late(_) => Class::Late,
            ConnectFailure::Fault | ConnectFailure::Stopping => Class::Lost,
        };
        Self {
            what: Printable::of(failure),
            hint: failure.hint().unwrap_or_default().into(),
            class,
        }
    }

    /// The reader of stdout is gone, and the destination does not take what was read from stdin.
    fn undelivered() -> Self {
        Self {
            what: "stdout was closed before the destination had received all of stdin".into(),
            hint: "keep stdout open until the destination closes".into(),
            class: Class::Lost,
        }
    }

    /// The destination closed before it had acknowledged what was read from stdin.
    fn ended_early() -> Self {
        Self {
            what: "the destination closed before it had acknowledged all of stdin".into(),
            hint: "some of it may not have been delivered".into(),
            class: Class::Lost,
        }
    }

    /// stdin or stdout failed.
    fn here(fault: IoFault) -> Self {
        Self {
            what: fault.what.into(),
            hint: fault.hint.into(),
            class: Class::Lost,
        }
    }

    /// Failure of an open stream.
    fn after(reason: Reason, failure: Option<&tunnel::Error>) -> Self {
        let class = if reason == Reason::Refused {
            Class::Unavailable
        } else {
            Class::Lost
        };
        let ended = tunnel::Error::Ended(reason);
        let error = failure.unwrap_or(&ended);
        Self {
            what: Printable::of(error),
            hint: error.hint().into(),
            class,
        }
    }
}

fn class_of(error: &tunnel::Error) -> Class {
    match error {
        tunnel::Error::Session(error) => Class::Session(error.kind()),
        tunnel::Error::Refused {
            status: 401 | 403, ..
        } => Class::Session(ErrorKind::Denied),
        tunnel::Error::Ended(Reason::Handshake { .. }) => Class::Document,
        tunnel::Error::Late { .. } => Class::Late,
        tunnel::Error::Ended(_)
        | tunnel::Error::Refused { .. }
        | tunnel::Error::Dial(_)
        | tunnel::Error::Broken(_) => Class::Unavailable,
    }
}

/// How long to wait for the remaining upload of a closed client: one or two round trips.
const FAREWELL: Duration = Duration::from_millis(250);
