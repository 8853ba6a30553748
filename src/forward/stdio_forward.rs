//! A forward whose one connection is stdin and stdout.
//!
//! It has no listener and needs no daemon; from the pool on it is a forward like any other.
//!
//! ```text
//!   Opening ──▶ Open ──▶ Over(End, Gone, Stopped, Quiet, Failed)
//!      └───────────────────▲
//! ```

#![expect(clippy::disallowed_methods, reason = "the one connection begins here")]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::field::Empty;
use tracing::{Instrument, error_span, warn};

use super::Context;
use super::client::{Connection, Fault, Faults, Standard};
use super::error::Failure;
use super::handler::{Handler, patience};
use super::pool_task::PoolTask;
use super::relay::{Outcome, Patience};
use super::shutdown::{ShutdownWatch, Stop};
use crate::config;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::session::Kind;
use crate::telemetry::ForwardMetrics;
use crate::tunnel;

/// A forward for one connection.
#[derive(Debug)]
pub struct StdioForward {
    serve: Handler,
    supplier: PoolTask,
    connection: Connection,
    faults: Faults,
}

impl StdioForward {
    /// A forward that does what `settings` say, but for where they listen.
    ///
    /// # Errors
    ///
    /// If stdin or stdout cannot be waited for.
    pub fn new(
        settings: config::Forward,
        context: Context,
        standard: Standard,
    ) -> io::Result<Self> {
        let (connection, faults) = Connection::standard(standard)?;
        let settings = Arc::new(settings);
        let patience = Patience {
            delivery: FAREWELL,
            flush_total: Some(FAREWELL),
            ..patience(&settings)
        };
        let (all_permits, dump_connections) = (
            Arc::clone(&context.permits),
            context.dump_connections.clone(),
        );
        let metrics = Arc::new(ForwardMetrics::default());
        let (supply, supplier) =
            PoolTask::new(Arc::clone(&settings), context, Arc::clone(&metrics));
        let serve = Handler {
            settings,
            patience,
            supply,
            permits: Semaphore::new(1),
            all_permits,
            slots: Arc::new(Semaphore::new(1)),
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

    /// Carries the connection, tells how far it is, and then ends its session.
    pub async fn run(self, stop: watch::Receiver<Stop>, progress: watch::Sender<Progress>) {
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
        // Whatever the relay made of it: bytes were lost here.
        let fault = faults.borrow().clone();
        let ending = fault.map_or(ending, |fault| Ending::Failed(Trouble::here(fault)));
        progress.send_replace(Progress::Over(ending));
        end.send_replace(true);
        while let Some(done) = supplying.join_next().await {
            if let Err(error) = done {
                warn!(%error, "the tunnels were lost");
            }
        }
    }
}

async fn carry(
    serve: &Handler,
    connection: Connection,
    mut stop: ShutdownWatch,
    progress: &watch::Sender<Progress>,
) -> Ending {
    let begin = Instant::now();
    let Ok(slot) = Arc::clone(&serve.slots).acquire_owned().await.map(Arc::new) else {
        return Ending::Stopped;
    };
    let opened = tokio::select! {
        opened = serve.open(begin, &slot) => opened,
        () = stop.asked() => return Ending::Stopped,
        () = connection.gone() => return Ending::Gone,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(refusal) => return Ending::Failed(Trouble::before(&refusal.failure)),
    };
    progress.send_replace(Progress::Open);
    match serve.carry(begin, connection, opened, stop).await {
        (Some(Outcome::End), _) => Ending::End,
        (Some(Outcome::EndedEarly), _) => Ending::Failed(Trouble::ended_early()),
        (Some(Outcome::ClientGone), _) => Ending::Gone,
        (Some(Outcome::Undelivered), _) => Ending::Failed(Trouble::undelivered()),
        (Some(Outcome::Quiet), _) => Ending::Quiet,
        (Some(Outcome::Lost(reason)), failure) => {
            Ending::Failed(Trouble::after(reason, failure.as_deref()))
        }
        (None, _) => Ending::Stopped,
    }
}

/// How far it is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// No byte can be carried yet.
    Opening,
    /// Bytes are carried.
    Open,
    /// None any more.
    Over(Ending),
}

/// How the one connection ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The destination ended, and stdout has every byte of it.
    End,
    /// Nobody reads stdout any more, and the destination has what was read of stdin.
    Gone,
    /// It was told to stop.
    Stopped,
    /// stdin ended, and then nothing moved for too long.
    Quiet,
    /// It could not be opened, or was lost, or stdin or stdout failed.
    Failed(Trouble),
}

/// What went wrong, for a person and for a program.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What.
    pub what: Printable,
    /// What to do about it; empty if nothing is known.
    pub hint: Printable,
    /// Of which kind it is.
    pub class: Class,
}

/// The kinds of trouble that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The API or the service said no.
    Session(Kind),
    /// The destination, or the way to it, is not there.
    Unavailable,
    /// It took too long.
    Late,
    /// The document opens another kind of session.
    Document,
    /// What was open was lost.
    Lost,
}

impl Trouble {
    /// Nothing was carried yet.
    fn before(failure: &Failure) -> Self {
        let class = match failure {
            Failure::Session(error) => Class::Session(error.kind()),
            Failure::Tunnel(error) => class_of(error),
            Failure::Late(_) => Class::Late,
            Failure::Fault | Failure::Stopping => Class::Lost,
        };
        Self {
            what: Printable::of(failure),
            hint: failure.hint().unwrap_or_default().into(),
            class,
        }
    }

    /// Nobody reads stdout any more, and the destination does not take what was read of stdin.
    fn undelivered() -> Self {
        Self {
            what: "stdout was closed before the destination had all of stdin".into(),
            hint: "keep stdout open until the destination ends".into(),
            class: Class::Lost,
        }
    }

    /// The destination closed before it had acknowledged what was read of stdin.
    fn ended_early() -> Self {
        Self {
            what: "the destination ended before it had acknowledged all of stdin".into(),
            hint: "some of it may not have arrived".into(),
            class: Class::Lost,
        }
    }

    /// stdin or stdout failed.
    fn here(fault: Fault) -> Self {
        Self {
            what: fault.what.into(),
            hint: fault.hint.into(),
            class: Class::Lost,
        }
    }

    /// A stream was open.
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
        } => Class::Session(Kind::Denied),
        tunnel::Error::Ended(Reason::Handshake { .. }) => Class::Document,
        tunnel::Error::Late { .. } => Class::Late,
        tunnel::Error::Ended(_)
        | tunnel::Error::Refused { .. }
        | tunnel::Error::Dial(_)
        | tunnel::Error::Broken(_) => Class::Unavailable,
    }
}

/// How long the last bytes of a client are waited for that is gone: a round trip or two.
const FAREWELL: Duration = Duration::from_millis(250);
