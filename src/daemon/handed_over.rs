//! A session that another program has started: the AWS CLI, for its plugin. Connections are served
//! on it, and on further sessions that are started with the same request.
//!
//! ```text
//!   start ─▶ ready: what the document wants ─┬─▶ listen ─▶ wait ─▶ shutdown
//!                                            └─▶ connect: a OneShot
//! ```

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::Span;

use super::error::StartError;
use super::fd_limit::FdLimit;
use super::lone_forward::{LoneConfig, LoneForward};
use super::one_shot::{OneShot, Prepared};
use super::signals::{Signal, Signals};
use super::suspend::SuspendDetector;
use crate::config;
use crate::forward::{
    Context, FirstFailure, FirstTunnel, Forward, HandedOverRole, ListenError, Listeners,
    SessionPlan, ShutdownPhase, Stdio,
};
use crate::printable::Printable;
use crate::proto::ClientSide;
use crate::session::{Session, SessionEnd, ShutdownMode, SuppliedSession};
use crate::telemetry::ForwardMetrics;

/// A session of another program, and what serves connections on it.
#[derive(Debug)]
pub struct HandedOver {
    forward: config::Forward,
    session: SuppliedSession,
    can_repeat: bool,
    /// The end of the session.
    end: SessionEnd,
    context: Context,
    lone: LoneForward,
}

/// Configuration of a [`HandedOver`].
#[derive(Debug)]
pub struct HandedOverConfig {
    /// AWS settings.
    pub aws: config::Aws,
    /// Limits of the process.
    pub limits: config::Limits,
    /// The forward, with the request that has started the session; its listen addresses are
    /// replaced.
    pub forward: config::Forward,
    /// The session.
    pub session: SuppliedSession,
    /// Whether the request is known, so that further sessions can be started.
    pub can_repeat: bool,
    /// Program, version and host, shown to users who list the sessions of a target.
    pub origin: String,
    /// Directory of the journal of open sessions; `None`: no journal.
    pub state: Option<PathBuf>,
}

/// A local address on which connections are accepted.
#[derive(Debug)]
pub struct Listening {
    /// The addresses, with the ports that were chosen.
    pub addresses: Vec<config::Listen>,
    /// What happens to the connections.
    pub metrics: Arc<ForwardMetrics>,
}

/// Why no more connections are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandedOverEnd {
    /// A signal requested it.
    Requested,
    /// The only session has ended; why.
    SessionEnded(Printable),
    /// A task has ended: an internal error.
    Failed,
}

/// Which sessions may still be active after a shutdown.
#[derive(Debug)]
pub enum SessionsLeft {
    /// The one that was handed over; perhaps others too.
    HandedOver(SuppliedSession),
    /// Only others; a hint for finding them.
    Further(&'static str),
}

/// A session that was not taken over.
#[derive(Debug)]
pub struct HandOverError {
    /// Reason; `None` if it was only to be terminated, and AWS did not do it.
    pub error: Option<StartError>,
    /// Whether it was terminated.
    pub is_terminated: bool,
}

impl HandOverError {
    fn still_active(error: StartError) -> Self {
        Self {
            error: Some(error),
            is_terminated: false,
        }
    }
}

impl HandedOver {
    /// Takes over the session and begins to open its data channel.
    ///
    /// # Errors
    ///
    /// If AWS cannot be called, or the session cannot be used. It is terminated then, if possible.
    /// A dropped future does not terminate it.
    pub async fn start(config: HandedOverConfig) -> Result<Self, HandOverError> {
        let HandedOverConfig {
            aws,
            limits,
            forward,
            session,
            can_repeat,
            origin,
            state,
        } = config;
        let config = LoneConfig {
            aws,
            rate: limits.session_start_rate,
            origin,
            state,
        };
        let lone = LoneForward::new(config, &forward).await;
        let (mut lone, context) = lone.map_err(HandOverError::still_active)?;
        let adopted = match adopt(&context, session.clone()).await {
            Ok(adopted) => adopted,
            Err(error) => {
                drop(context);
                let is_terminated = lone.finish().await && session.has_valid_id();
                return Err(HandOverError {
                    error: Some(error),
                    is_terminated,
                });
            }
        };
        let fd_limit = FdLimit::raise(&limits, std::slice::from_ref(&forward));
        let max = limits.max_connections.min(forward.max_connections);
        let mut options = SessionPlan::new(&forward, &context).tunnel_options;
        // The session may be for one connection, whatever the forward is.
        options.options.shared = false;
        let end = adopted.end();
        let first = FirstTunnel::open(adopted, context.network.clone(), options);
        let closing = close_unused(first.clone(), lone.stop.subscribe());
        lone.tasks.spawn(closing);
        let context = Context {
            permits: Arc::new(Semaphore::new(max)),
            max_waiting: fd_limit.max_waiting,
            first_tunnel: first,
            ..context
        };
        Ok(Self {
            forward,
            session,
            can_repeat,
            end,
            context,
            lone,
        })
    }

    /// Terminates the session without using it.
    ///
    /// # Errors
    ///
    /// If AWS cannot be called. A dropped future does not terminate it.
    pub async fn terminate(config: HandedOverConfig) -> Result<(), HandOverError> {
        let lone_config = LoneConfig {
            aws: config.aws,
            rate: 1,
            origin: config.origin,
            state: config.state,
        };
        let lone = LoneForward::new(lone_config, &config.forward).await;
        let (lone, context) = lone.map_err(HandOverError::still_active)?;
        // Dropping it terminates it.
        let is_known = config.session.has_valid_id();
        let adopted = adopt(&context, config.session).await.map(drop);
        drop(context);
        let is_terminated = lone.finish().await && is_known;
        match (adopted, is_terminated) {
            (_, true) => Ok(()),
            (adopted, false) => Err(HandOverError {
                error: adopted.err(),
                is_terminated,
            }),
        }
    }

    /// Returns the session.
    pub fn session(&self) -> &SuppliedSession {
        &self.session
    }

    /// Waits until the session can carry data. Returns what the document wants to be connected.
    ///
    /// # Errors
    ///
    /// If the session has ended, or is not ready within `connect_timeout` of the forward.
    pub async fn ready(&self) -> Result<ClientSide, FirstFailure> {
        let connect_timeout = self.forward.connect_timeout;
        self.context.first_tunnel.ready(connect_timeout).await
    }

    /// Listens on this address and serves its connections, until the shutdown.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub async fn listen(&mut self, listen: config::Listen) -> Result<Listening, ListenError> {
        let settings = config::Forward {
            allow_remote_clients: !listen.is_loopback(),
            listen: vec![listen],
            ..self.forward.clone()
        };
        let (context, own) = (self.context.clone(), Listeners::default());
        let released = &mut Listeners::default();
        let role = match self.can_repeat {
            true => HandedOverRole::Preferred,
            false => HandedOverRole::Only,
        };
        let context = Context {
            first_tunnel: context.first_tunnel.clone().with_role(role),
            ..context
        };
        let forward = Forward::bind(settings, context, own, released, Arc::default()).await?;
        let listening = Listening {
            addresses: forward.addresses(),
            metrics: Arc::clone(forward.metrics()),
        };
        self.lone
            .tasks
            .spawn(forward.run(self.lone.stop.subscribe()));
        Ok(listening)
    }

    /// Connects stdin and stdout to the session.
    ///
    /// # Errors
    ///
    /// If stdin or stdout cannot be used; the session is terminated then, if possible.
    pub async fn connect(self, standard: Stdio) -> Result<OneShot, HandOverError> {
        let Self {
            forward,
            context,
            lone,
            can_repeat,
            session: _,
            end: _,
        } = self;
        let role = match can_repeat {
            true => HandedOverRole::None,
            false => HandedOverRole::Only,
        };
        let context = Context {
            first_tunnel: context.first_tunnel.clone().with_role(role),
            ..context
        };
        match Prepared::new(forward, context, standard) {
            Ok(prepared) => Ok(prepared.run(lone)),
            Err(error) => Err(HandOverError {
                error: Some(error),
                is_terminated: lone.finish().await,
            }),
        }
    }

    /// Waits for a signal to stop; handles the others. Without another session to go on with, the
    /// end of the session is the end too; so it is once `abandoned` has completed, when no
    /// connection is left.
    pub async fn wait(
        &mut self,
        metrics: &ForwardMetrics,
        signals: &mut Signals,
        abandoned: impl Future<Output = ()>,
    ) -> HandedOverEnd {
        let (first, is_only) = (self.context.first_tunnel.clone(), !self.can_repeat);
        let mut last_end = pin!(async {
            if is_only {
                return first.ended().await;
            }
            abandoned.await;
            let why = first.ended().await;
            while metrics.open.get() + metrics.waiting.get() > 0 {
                sleep(INTERVAL).await;
            }
            why
        });
        let mut suspend_detector = SuspendDetector::new();
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop(_) => return HandedOverEnd::Requested,
                    Signal::RetryNow => self.lone.trigger.send(),
                    Signal::DumpConnections => self.lone.dump_connections.send(),
                    Signal::Reload => {}
                },
                why = &mut last_end => return HandedOverEnd::SessionEnded(why),
                _ = self.lone.tasks.join_next() => return HandedOverEnd::Failed,
                () = suspend_detector.resumed() => self.lone.trigger.send(),
            }
        }
    }

    /// Resets the connections and terminates the sessions; a signal forces it, and the third one
    /// abandons the sessions.
    ///
    /// # Errors
    ///
    /// Which sessions may still be active.
    pub async fn shutdown(self, signals: &mut Signals) -> Result<(), SessionsLeft> {
        let Self {
            context,
            lone,
            end,
            session,
            ..
        } = self;
        // The dispatcher ends when its last handle is dropped.
        drop(context);
        let ended = lone.shutdown(ShutdownMode::Graceful, signals).await;
        let Err(hint) = ended else {
            return Ok(());
        };
        // Settled by now, or never.
        let is_over = matches!(
            timeout(Duration::ZERO, end.confirmed()).await,
            Ok(Some(Ok(())))
        );
        Err(match is_over {
            true => SessionsLeft::Further(hint),
            false => SessionsLeft::HandedOver(session),
        })
    }
}

async fn adopt(context: &Context, session: SuppliedSession) -> Result<Session, StartError> {
    let ssm = context.target_clients.first().unwrap_or(&context.ssm);
    let adopted = context.sessions.adopt(ssm, session, Span::current()).await;
    adopted.map_err(StartError::Aws)
}

/// Ends the session if no connection has used it until the shutdown.
async fn close_unused(first: FirstTunnel, mut stop: watch::Receiver<ShutdownPhase>) {
    // An error means that the sender was dropped, which counts as a stop.
    drop(
        stop.wait_for(|phase| *phase >= ShutdownPhase::Aborting)
            .await,
    );
    first.close().await;
}

/// How often the open connections are counted before an end.
const INTERVAL: Duration = Duration::from_secs(1);
