//! Task of one tunnel, from the request for a session to its end. Reports each step to the pool.
//!
//! ```text
//!   Stage: Resolving ─▶ RateLimit ─▶ Calling ─▶ SessionStarted ─▶ Ready ─▶ Disconnected ⇄ Resumed
//!                                   └──────────┴─▶ Failed     └─▶ Ended
//! ```

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{Instrument, debug, error_span};

use super::Context;
use super::error::ConnectFailure;
use super::pool::TunnelId;
use super::pool_handle::{PoolRequest, TunnelEvent};
use crate::clock;
use crate::session::{Priority, PushedKey, RegionalTarget, SsmClient, StartRequest, StartStage};
use crate::tunnel::{Driver, State, Tunnel, TunnelOptions};

/// Parameters of a tunnel.
#[derive(Debug)]
pub(super) struct TunnelTask {
    pub(super) id: TunnelId,
    pub(super) context: Context,
    /// Tried in this order.
    pub(super) targets: Vec<RegionalTarget>,
    /// Its target is replaced by the one being tried.
    pub(super) request: StartRequest,
    pub(super) tunnel_options: TunnelOptions,
    pub(super) priority: Priority,
    /// Timeout for starting the session, and again for the tunnel to become ready.
    pub(super) connect_timeout: Duration,
    pub(super) events: mpsc::UnboundedSender<PoolRequest>,
}

impl TunnelTask {
    /// Runs until the tunnel has ended. Dropping the future terminates its session.
    pub(super) async fn run(self) {
        let (id, events, connect_timeout) = (self.id, self.events.clone(), self.connect_timeout);
        // Before the timeout of the connection, so that it gets the cause.
        let deadline = clock::now() + connect_timeout * 7 / 8;
        let report = |what| {
            // Receiver dropped: ignore.
            let _gone = events.send(PoolRequest::Tunnel(id, what));
        };
        let Started {
            tunnel,
            driver,
            key_push,
        } = match self.start(&report).await {
            Ok(started) => started,
            Err(failure) => return report(TunnelEvent::Failed(failure)),
        };
        let span = error_span!("tunnel", session = %tunnel.session_id());
        report(TunnelEvent::SessionStarted(tunnel.clone()));
        let prepare = async {
            match key_push {
                Some(push) => push.run(deadline).await,
                None => Ok(()),
            }
        };
        let both = run(driver, watch(tunnel, connect_timeout, prepare, &report));
        both.instrument(span).await;
    }

    async fn start(self, report: &impl Fn(TunnelEvent)) -> Result<Started, ConnectFailure> {
        let Context {
            sessions,
            network,
            pushed_key,
            first_tunnel,
            ..
        } = self.context;
        if self.id == TunnelId::FIRST
            && let Some(opened) = first_tunnel.take().await
        {
            // The pool must no longer cancel it.
            report(TunnelEvent::Stage(StartStage::Credentials));
            let (tunnel, driver) = opened.into_parts();
            return Ok(Started {
                tunnel,
                driver: Box::pin(driver),
                key_push: None,
            });
        }
        if let Some(failure) = first_tunnel.end_of_only() {
            return Err(failure);
        }
        let (targets, request) = (&self.targets, &self.request);
        let session = sessions.start_on(
            targets,
            request,
            &self.priority,
            self.connect_timeout,
            |stage| report(TunnelEvent::Stage(stage)),
        );
        let session = session.await.map_err(ConnectFailure::Session)?;
        let key_push = pushed_key.map(|key| KeyPush {
            ssm: session.client().clone(),
            node: session.target().to_owned(),
            key,
        });
        let (tunnel, driver) = Driver::new(session, network, self.tunnel_options);
        Ok(Started {
            tunnel,
            driver: Box::pin(driver.run()),
            key_push,
        })
    }
}

/// A tunnel whose session was started.
struct Started {
    tunnel: Tunnel,
    /// Drives it until it has ended.
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    key_push: Option<KeyPush>,
}

/// A public key that the node of a session gets.
struct KeyPush {
    ssm: SsmClient,
    node: String,
    key: Arc<PushedKey>,
}

impl KeyPush {
    async fn run(self, deadline: Instant) -> Result<(), ConnectFailure> {
        // Boxed, because the callers' futures would nest too deeply for the compiler.
        let pushed = Box::pin(self.ssm.push_key(&self.node, &self.key, deadline));
        pushed.await.map_err(ConnectFailure::KeyNotPushed)?;
        debug!(target = %self.node, user = %self.key.user, "pushed the public key");
        Ok(())
    }
}

/// Runs a tunnel and its watch. Once the watch is over, the tunnel has `CLOSE_TIMEOUT` to end; then
/// it is dropped, and with it the session.
async fn run(driver: impl Future<Output = ()>, watch: impl Future<Output = ()>) {
    let (mut driving, mut watching) = (pin!(driver), pin!(watch));
    tokio::select! {
        () = &mut driving => return watching.await,
        () = &mut watching => {}
    }
    if timeout(CLOSE_TIMEOUT, driving).await.is_err() {
        debug!("the tunnel did not close in time; terminating its session through the API");
    }
}

/// Reports the state changes of a tunnel. Closes it if it is not ready within `connect_timeout`.
///
/// It carries no data until `prepare` has completed, which is polled when the tunnel is ready: a
/// pushed key is valid for 60 s, and a session may take as long to start.
async fn watch(
    mut tunnel: Tunnel,
    connect_timeout: Duration,
    prepare: impl Future<Output = Result<(), ConnectFailure>>,
    report: &impl Fn(TunnelEvent),
) {
    match timeout(connect_timeout, tunnel.ready()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return report(TunnelEvent::Failed(ConnectFailure::Tunnel(error))),
        Err(_) => {
            let step = tunnel.step();
            tunnel.close();
            return report(TunnelEvent::Failed(ConnectFailure::TimedOut(step)));
        }
    }
    let mut watched = tunnel.clone();
    let prepared = tokio::select! {
        prepared = prepare => prepared,
        // Nothing was opened yet, but there may be bytes to read.
        () = ended(&mut watched) => tunnel.ready().await.map_err(ConnectFailure::Tunnel),
    };
    if let Err(failure) = prepared {
        tunnel.close();
        return report(TunnelEvent::Failed(failure));
    }
    report(TunnelEvent::Ready);
    let mut state = State::Ready;
    loop {
        // From the last reported state: it may have changed since.
        state = tunnel.changed(state).await;
        match state {
            State::Disconnected => report(TunnelEvent::Disconnected),
            State::Ready => report(TunnelEvent::Resumed),
            State::Ended => return report(TunnelEvent::Ended),
            State::Opening => {}
        }
    }
}

async fn ended(tunnel: &mut Tunnel) {
    let mut state = State::Ready;
    while state != State::Ended {
        state = tunnel.changed(state).await;
    }
}

/// Timeout of a graceful close: the flag on the channel waits 1 s for its acknowledgement.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_driver_that_hangs_is_dropped_some_time_after_its_tunnel_was_closed() {
        let ended = timeout(20 * CLOSE_TIMEOUT, run(pending(), ready(()))).await;

        assert_eq!(ended, Ok(()));
    }

    #[tokio::test]
    async fn a_tunnel_whose_driver_ended_is_watched_until_that_is_reported() {
        let is_reported = Cell::new(false);
        let watch = async {
            tokio::task::yield_now().await;
            is_reported.set(true);
        };

        run(ready(()), watch).await;

        assert!(is_reported.get());
    }
}
