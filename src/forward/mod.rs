//! A running forward: accepts connections, opens streams, relays bytes and shuts down.
//!
//! ```text
//!   Forward::run ─▶ one accept loop per local address
//!              │         └─▶ one task per connection (handler.rs)
//!              │                  │ leases a slot on a tunnel
//!              └─▶ one pool task (pool_task/), which executes the actions of the pool
//!                        └─▶ one task per tunnel (tunnel_task.rs)
//! ```
//!
//! A forward does not depend on other forwards or on signals. It runs until a stop is requested;
//! then it stops accepting, drains its connections if permitted, and resets the remaining ones.

mod access_log;
mod bundle_client;
mod bundle_flow;
mod bundle_records;
mod bundle_stripe;
mod bundle_supplier;
mod bundle_task;
mod byte_counters;
mod client;
mod closing;
mod connections;
mod context;
mod delivery;
mod error;
mod explain;
mod explainer;
mod first_bytes;
mod first_tunnel;
mod flow_progress;
mod handler;
mod handshake_slots;
mod listener;
mod liveness;
mod opening;
mod outcome;
mod peer;
mod pool;
mod pool_handle;
mod pool_task;
pub mod proxy;
mod proxy_handler;
mod relay;
mod relayed_handler;
mod session_table;
mod shutdown;
mod start_request;
mod stdio_forward;
mod timeline;
mod tunnel_record;
mod tunnel_task;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::field::Empty;
use tracing::{Instrument, debug, error, error_span, info, warn};

pub use self::bundle_records::{BundleInfo, StripeInfo};
use self::bundle_task::BundleTask;
use self::client::Connection;
pub use self::client::Stdio;
pub use self::connections::{ConnectionInfo, ConnectionTable};
pub use self::context::Context;
use self::error::RepeatedLines;
use self::explainer::Explainer;
pub use self::first_tunnel::{FirstFailure, FirstTunnel};
use self::handler::Handler;
use self::handshake_slots::HandshakeSlots;
use self::listener::is_of_one_connection;
pub use self::listener::{
    AcceptedSocket, ActivatedSockets, InheritedSockets, ListenError, ListenErrorKind, ListenSpec,
    Listener, Listeners, SocketFile,
};
pub use self::liveness::Liveness;
use self::liveness::PingResponder;
pub use self::pool::HandedOverRole;
use self::pool_handle::AcceptPermit;
use self::pool_task::PoolTask;
pub use self::session_table::SessionTable;
pub use self::shutdown::ShutdownPhase;
use self::shutdown::ShutdownWatch;
pub use self::start_request::SessionPlan;
pub use self::stdio_forward::{CloseReason, StdioError, StdioForward, StdioStage};
use crate::config;
use crate::network::shortage;
use crate::panics::{self, Panic, caught};
use crate::telemetry::{ForwardMetrics, ForwardTotals};

/// A forward whose local addresses are bound.
#[derive(Debug)]
pub struct Forward {
    bound: Listeners,
    liveness: Liveness,
    /// One per listener.
    responders: Vec<PingResponder>,
    serve: Arc<Handler>,
    pool_task: PoolTask,
    bundle_task: Option<BundleTask>,
}

impl Forward {
    /// Binds the local addresses of a forward that continues `totals`, except those bound in `own`
    /// (by its predecessor) or `released` (by others). Connections wait in the backlog until it runs.
    ///
    /// # Errors
    ///
    /// Returns the error of the first address that cannot be bound.
    pub async fn bind(
        settings: config::Forward,
        context: Context,
        own: Listeners,
        released: &mut Listeners,
        totals: Arc<ForwardTotals>,
    ) -> Result<Self, ListenError> {
        let bound = Listeners::bind((&settings).into(), &context.passed, own, released).await?;
        let settings = Arc::new(settings);
        let all_permits = Arc::clone(&context.permits);
        // Each listener holds one slot while it waits in accept.
        let accept_permits =
            settings.max_connections + context.max_waiting + bound.listeners().count();
        // At most three quarters of the slots for pending connections, so that some of those stay
        // free. A proxy has handshakes and no explanations, other forwards the reverse.
        let share = |slots: usize| settings.max_connections.min(slots).max(1);
        let lingering = share(context.max_waiting / 2);
        let explained = share(context.max_waiting / 4);
        let handshakes = context.max_waiting / 4;
        let accept_permits = Arc::new(Semaphore::new(accept_permits));
        let dump_connections = context.dump_connections.clone();
        let metrics = Arc::new(ForwardMetrics::new(totals));
        let (pool, pool_task) = PoolTask::new(&settings, context, Arc::clone(&metrics));
        let pool = Arc::new(pool);
        let (relayed, bundle_task) = BundleTask::new(&settings, &pool, &metrics).unzip();
        let connections = Arc::new(ConnectionTable::new(
            Arc::clone(pool.sessions()),
            Arc::clone(&settings),
            Arc::clone(&metrics),
            relayed.clone(),
        ));
        let serve = Arc::new(Handler {
            connections,
            explainer: Explainer::new(&settings, explained),
            handshakes: HandshakeSlots::new(handshakes),
            timeouts: handler::timeouts(&settings),
            permits: Semaphore::new(settings.max_connections),
            settings,
            pool,
            relayed,
            all_permits,
            accept_permits,
            lingering: Semaphore::new(lingering),
            repeats: RepeatedLines::default(),
            dump_connections,
            metrics,
        });
        let (liveness, responders) = Liveness::new(bound.listeners().count());
        Ok(Self {
            bound,
            liveness,
            responders,
            serve,
            pool_task,
            bundle_task,
        })
    }

    /// Returns the name of the forward.
    pub fn name(&self) -> &str {
        &self.serve.settings.name
    }

    /// Returns the local addresses of its listeners.
    pub fn addresses(&self) -> Vec<config::Listen> {
        let listeners = self.bound.listeners();
        listeners
            .filter_map(|listener| listener.address().ok())
            .collect()
    }

    /// Logs the local addresses in one line.
    pub fn announce(&self) {
        let settings = &self.serve.settings;
        let mut addresses = self.addresses().into_iter();
        let Some(local_address) = addresses.next() else {
            return;
        };
        let others: Vec<String> = addresses.map(|address| address.to_string()).collect();
        let also = (!others.is_empty()).then(|| others.join(","));
        let (node, destination) = (&settings.target, &settings.remote);
        let (profile, region) = (&settings.account.profile, &settings.account.region);
        error_span!("serving", forward = self.name()).in_scope(|| {
            info!(
                %local_address,
                also,
                %node,
                %destination,
                profile,
                region,
                "listening"
            );
        });
    }

    /// Returns the metrics of the forward.
    pub fn metrics(&self) -> &Arc<ForwardMetrics> {
        &self.serve.metrics
    }

    /// Returns the table of its connections.
    pub fn connections(&self) -> &Arc<ConnectionTable> {
        &self.serve.connections
    }

    /// Returns the liveness check of the accept loops.
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// Returns the bound listeners.
    pub fn bound(&self) -> &Listeners {
        &self.bound
    }

    /// Accepts connections until a stop is requested. Returns when the last connection has ended.
    ///
    /// # Panics
    ///
    /// If one of its tasks panicked and cannot be restarted: the forward cannot serve clients then.
    pub async fn run(self, stop: watch::Receiver<ShutdownPhase>) {
        // At error level, so that the span is enabled at every log level.
        let span = error_span!("serving", forward = self.name());
        let stop = ShutdownWatch::new(stop);
        let (end, ended) = watch::channel(false);
        let mut supplying = JoinSet::new();
        let pool = self.pool_task.run(stop.clone(), ended);
        supplying.spawn(pool.instrument(span.clone()));
        let mut bundles = self.bundle_task.map(|task| task.spawn(&span));
        if let Err(error) = self.bound.set_mode(self.serve.settings.mode) {
            span.in_scope(|| warn!(%error, "cannot change the permissions of a socket"));
        }
        let mut loops = JoinSet::new();
        for (listener, responder) in self.bound.listeners().zip(self.responders) {
            let serve = Arc::clone(&self.serve);
            let accept = accept_loop(Arc::clone(listener), serve, stop.clone(), responder);
            loops.spawn(accept.instrument(span.clone()));
        }
        drop(self.bound);
        loop {
            tokio::select! {
                done = loops.join_next() => match done {
                    Some(done) => pass_on_panic(done),
                    None => break,
                },
                Some(done) = supplying.join_next() => pass_on_panic(done),
            }
        }
        if let Some(bundle) = bundles.take() {
            bundle.end().await;
        }
        // Only now: the last connections may still be flushing their upload.
        end.send_replace(true);
        while let Some(done) = supplying.join_next().await {
            pass_on_panic(done);
        }
    }
}

async fn accept_loop(
    listener: Arc<Listener>,
    serve: Arc<Handler>,
    mut stop: ShutdownWatch,
    mut responder: PingResponder,
) {
    let mut connections = JoinSet::new();
    while let Err(panic) = caught(accept_until_released(
        &listener,
        &serve,
        &mut stop,
        &mut responder,
        &mut connections,
    ))
    .await
    {
        error!(%panic, "the accept loop panicked; restarting");
        serve.record_panic();
        stop.pause(MAX_ACCEPT_PAUSE).await;
    }
    drop(listener);
    while let Some(done) = connections.join_next().await {
        warn_if_panicked(done);
    }
}

async fn accept_until_released(
    listener: &Listener,
    serve: &Arc<Handler>,
    stop: &mut ShutdownWatch,
    responder: &mut PingResponder,
    connections: &mut JoinSet<()>,
) {
    let mut pause = ACCEPT_PAUSE;
    let mut failures = 0_u32;
    loop {
        // The stop first: after a reload, the successor must accept new connections.
        let accepted = tokio::select! {
            biased;
            () = stop.released() => break,
            () = responder.respond() => continue,
            Some(done) = connections.join_next() => {
                warn_if_panicked(done);
                continue;
            }
            accepted = accept(listener, serve) => accepted,
        };
        panics::point("accept-loop");
        match accepted {
            Ok((connection, slot)) => {
                if pause == MAX_ACCEPT_PAUSE {
                    info!("accepting again");
                }
                (pause, failures) = (ACCEPT_PAUSE, 0);
                let peer = connection.peer();
                let span = error_span!("connection", %peer, session = Empty, stream = Empty);
                let tracked = serve.connections.add(peer, stop.clone());
                let task = Arc::clone(serve).run(tracked, connection, slot, stop.clone());
                let mut task = Box::pin(task.instrument(span));
                match first_step(task.as_mut()).await {
                    Ok(Poll::Pending) => drop(connections.spawn(task)),
                    Ok(Poll::Ready(())) => {}
                    Err(panic) => {
                        warn!(error = %panic, "connection task panicked; please report this");
                    }
                }
            }
            Err(error) if is_of_one_connection(&error) => {
                debug!(%error, "a connection was closed before it was accepted");
            }
            Err(error) => {
                failures += 1;
                // A resource shortage can last: logged at first, then once a minute.
                if pause < MAX_ACCEPT_PAUSE || failures.is_multiple_of(FAILURES_PER_MINUTE) {
                    let hint = shortage::hint(&error).unwrap_or_default();
                    warn!(%error, hint, ?pause, "cannot accept; retrying");
                }
                stop.pause(pause).await;
                pause = (pause * 2).min(MAX_ACCEPT_PAUSE);
            }
        }
    }
}

/// Polls a connection once, so that it enters the queues before the next one is accepted:
/// spawned tasks start in any order.
async fn first_step(mut task: Pin<&mut impl Future<Output = ()>>) -> Result<Poll<()>, Panic> {
    caught(poll_fn(|context| Poll::Ready(task.as_mut().poll(context)))).await
}

async fn accept(listener: &Listener, serve: &Handler) -> io::Result<(Connection, AcceptPermit)> {
    let slot = Arc::clone(&serve.accept_permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    Ok((listener.accept().await?, Arc::new(slot)))
}

/// Propagates a panic: a task that restarts itself after a panic ended all the same.
fn pass_on_panic(done: Result<(), tokio::task::JoinError>) {
    if let Some(panic) = done.err().and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
}

fn warn_if_panicked(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        warn!(%error, "connection task panicked; please report this");
    }
}

/// Pause after a failed accept, initial and maximum.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Attempts per minute at the maximum pause.
const FAILURES_PER_MINUTE: u32 = 60;
