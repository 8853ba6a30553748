//! A forward whose one connection is stdin and stdout.
//!
//! It has no listener and needs no daemon; from the pool on it works like any other forward.
//!
//! ```text
//!   Opening ──▶ Open ──▶ Closed: DestinationClosed, ReaderClosed, Stopped, HalfCloseTimeout
//!      └───────────────────▲         or Failed
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::field::Empty;
use tracing::{Instrument, error_span, warn};

use super::Context;
use super::access_log::End;
use super::bundle_task::BundleTask;
use super::client::{Connection, Stdio, StdioIoError, StdioIoErrors};
use super::connections::{ConnectionTable, TrackedConnection};
use super::error::{ConnectFailure, RepeatedLines};
use super::explainer::Explainer;
use super::handler::{Handler, timeouts};
use super::handshake_slots::HandshakeSlots;
use super::outcome::Outcome;
use super::pool_handle::SlotRefusal;
use super::pool_task::PoolTask;
use super::relay::RelayTimeouts;
use super::shutdown::{ShutdownPhase, ShutdownWatch};
use crate::config;
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::telemetry::{EndReason, ForwardMetrics};
use crate::tunnel;

/// A forward for one connection.
#[derive(Debug)]
pub struct StdioForward {
    handler: Handler,
    pool_task: PoolTask,
    bundle_task: Option<BundleTask>,
    connection: Connection,
    faults: StdioIoErrors,
}

impl StdioForward {
    /// Creates a forward for `settings`, ignoring its local addresses.
    ///
    /// # Errors
    ///
    /// If stdin or stdout cannot be registered with the runtime.
    pub fn new(
        mut settings: config::Forward,
        context: Context,
        standard: Stdio,
    ) -> io::Result<Self> {
        // stdout carries bytes of the destination and nothing else.
        settings.explain = config::Explain::Off;
        let (connection, faults) = Connection::standard(standard)?;
        let settings = Arc::new(settings);
        let timeouts = RelayTimeouts {
            flush_idle: FINAL_UPLOAD_TIMEOUT,
            flush_total: Some(FINAL_UPLOAD_TIMEOUT),
            ..timeouts(&settings)
        };
        let (all_permits, dump_connections) = (
            Arc::clone(&context.permits),
            context.dump_connections.clone(),
        );
        let metrics = Arc::new(ForwardMetrics::default());
        let (pool, pool_task) = PoolTask::new(&settings, context, Arc::clone(&metrics));
        let pool = Arc::new(pool);
        let (relayed, bundle_task) = BundleTask::new(&settings, &pool, &metrics).unzip();
        let connections = Arc::new(ConnectionTable::new(
            Arc::clone(pool.sessions()),
            Arc::clone(&settings),
            Arc::clone(&metrics),
            relayed.clone(),
        ));
        let handler = Handler {
            connections,
            explainer: Explainer::new(&settings, 1),
            settings,
            timeouts,
            pool,
            relayed,
            permits: Semaphore::new(1),
            all_permits,
            accept_permits: Arc::new(Semaphore::new(1)),
            lingering: Semaphore::new(1),
            handshakes: HandshakeSlots::new(1),
            repeats: RepeatedLines::default(),
            dump_connections,
            metrics,
        };
        Ok(Self {
            handler,
            pool_task,
            bundle_task,
            connection,
            faults,
        })
    }

    /// Serves the connection, reports its progress, and then terminates its session.
    pub async fn run(
        self,
        stop: watch::Receiver<ShutdownPhase>,
        progress: watch::Sender<StdioStage>,
    ) {
        let Self {
            handler,
            pool_task,
            bundle_task,
            connection,
            faults,
        } = self;
        let span = error_span!("connection", session = Empty, stream = Empty);
        let stop = ShutdownWatch::new(stop);
        let (end, ended) = watch::channel(false);
        let mut supplying = JoinSet::new();
        supplying.spawn(pool_task.run(stop.clone(), ended).instrument(span.clone()));
        let bundle = bundle_task.map(|task| task.spawn(&span));
        let ending = serve(&handler, connection, stop, &progress);
        let ending = ending.instrument(span).await;
        // Regardless of the outcome of the relay: bytes were lost here.
        let fault = faults.borrow().clone();
        let ending = fault.map_or(ending, |fault| CloseReason::Failed(StdioError::here(fault)));
        progress.send_replace(StdioStage::Closed(ending));
        if let Some(bundle) = bundle {
            bundle.end().await;
        }
        end.send_replace(true);
        while let Some(done) = supplying.join_next().await {
            if let Err(error) = done {
                warn!(%error, "the pool task panicked and its tunnels are lost");
            }
        }
    }
}

async fn serve(
    handler: &Handler,
    connection: Connection,
    mut stop: ShutdownWatch,
    progress: &watch::Sender<StdioStage>,
) -> CloseReason {
    let tracked = handler.connections.add(connection.peer(), stop.clone());
    if let Some(client) = &handler.relayed {
        let serving = handler.serve_relayed_stdio(client, &tracked, connection, stop, progress);
        return Box::pin(serving).await;
    }
    let active = tracked.active();
    let Ok(slot) = Arc::clone(&handler.accept_permits)
        .acquire_owned()
        .await
        .map(Arc::new)
    else {
        return CloseReason::Stopped;
    };
    let deadline = active.accepted() + handler.settings.connect_timeout;
    let opened = handler.open(active, &slot, None, deadline);
    let opened = match unless_left(opened, &tracked, &connection, &mut stop).await {
        Ok(opened) => opened,
        Err(reason) => return reason,
    };
    progress.send_replace(StdioStage::Open);
    match handler.relay(&tracked, connection, opened, stop).await {
        (Outcome::DestinationClosed, _) => CloseReason::DestinationClosed,
        (Outcome::EndedEarly, _) => CloseReason::Failed(StdioError::ended_early()),
        (Outcome::ClientClosed, _) => CloseReason::ReaderClosed,
        (Outcome::UploadIncomplete, _) => CloseReason::Failed(StdioError::undelivered()),
        (Outcome::HalfCloseTimeout, _) => CloseReason::HalfCloseTimeout,
        (Outcome::StreamLost(reason), failure) => {
            CloseReason::Failed(StdioError::after(reason, failure.as_deref()))
        }
        (Outcome::Stopped | Outcome::ClosedByOperator, _) => CloseReason::Stopped,
    }
}

/// Waits for the stream of stdin and stdout, unless the reader of stdout leaves or the forward stops.
pub(super) async fn unless_left<T>(
    opened: impl Future<Output = Result<T, SlotRefusal>>,
    tracked: &TrackedConnection,
    connection: &Connection,
    stop: &mut ShutdownWatch,
) -> Result<T, CloseReason> {
    let opened = tokio::select! {
        opened = opened => opened,
        () = stop.draining() => return Err(CloseReason::Stopped),
        () = connection.client_closed() => {
            tracked.record(End::new(EndReason::ClientLeft));
            return Err(CloseReason::ReaderClosed);
        }
    };
    opened.map_err(|refusal| {
        let error = StdioError::before(&refusal.failure);
        // Not a warning: the error is shown to the user.
        let omitted = None;
        tracked.record(SlotRefusal { omitted, ..refusal }.end());
        CloseReason::Failed(error)
    })
}

/// Progress of the connection.
#[derive(Clone, Debug)]
pub enum StdioStage {
    /// No byte can be carried yet.
    Opening,
    /// Bytes are carried.
    Open,
    /// The connection has ended.
    Closed(CloseReason),
}

/// How the connection ended.
#[derive(Clone, Debug)]
pub enum CloseReason {
    /// The destination ended, and stdout has every byte of it.
    DestinationClosed,
    /// The reader of stdout is gone, and the destination has what was read from stdin.
    ReaderClosed,
    /// A stop was requested.
    Stopped,
    /// stdin ended, and then nothing moved for too long.
    HalfCloseTimeout,
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
    /// Class of the failure.
    pub class: ErrorClass,
    /// True if an open connection was lost, or not all of stdin may have arrived.
    pub was_open: bool,
}

impl StdioError {
    /// The connection through a relay was lost.
    pub(super) fn relayed(class: ErrorClass, what: Printable) -> Self {
        Self {
            what,
            hint: class.remedy().into(),
            class,
            was_open: true,
        }
    }

    /// Failure before a stream was open.
    pub(super) fn before(failure: &ConnectFailure) -> Self {
        Self {
            what: Printable::of(failure),
            hint: failure.hint().unwrap_or_default().into(),
            class: failure.class(),
            was_open: false,
        }
    }

    /// The reader of stdout is gone, and the destination does not take what was read from stdin.
    fn undelivered() -> Self {
        Self {
            what: "stdout was closed before the destination had received all of stdin".into(),
            hint: "keep stdout open until the destination closes".into(),
            class: ErrorClass::UploadIncomplete,
            was_open: true,
        }
    }

    /// The destination closed before it had acknowledged what was read from stdin.
    fn ended_early() -> Self {
        Self {
            what: "the destination closed before it had acknowledged all of stdin".into(),
            hint: "some of it may not have been delivered".into(),
            class: ErrorClass::UploadIncomplete,
            was_open: true,
        }
    }

    /// stdin or stdout failed.
    fn here(fault: StdioIoError) -> Self {
        Self {
            what: fault.what.into(),
            hint: fault.hint.into(),
            class: ErrorClass::StdioFailed,
            was_open: true,
        }
    }

    /// Failure of an open stream.
    fn after(reason: Reason, failure: Option<&tunnel::Error>) -> Self {
        let was_open = reason != Reason::Refused;
        let ended = tunnel::Error::Ended(reason);
        let error = failure.unwrap_or(&ended);
        Self {
            what: Printable::of(error),
            hint: error.hint().into(),
            class: error.class(),
            was_open,
        }
    }
}

/// How long to wait for the remaining upload of a closed client: one or two round trips.
const FINAL_UPLOAD_TIMEOUT: Duration = Duration::from_millis(250);
