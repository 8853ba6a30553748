//! Execution of the actions of the pool.

use tracing::{Instrument, Span};

use super::{CLOSE_TIMEOUT, PoolTask, Waiter};
use crate::clock;
use crate::config;
use crate::forward::error::ConnectFailure;
use crate::forward::pool::{Priority as PoolPriority, RejectReason, Returned, TunnelId, WaiterId};
use crate::forward::pool_handle::{Lease, SlotGuard, SlotRefusal};
use crate::forward::start_request;
use crate::forward::tunnel_record::{TunnelRecord, step};
use crate::forward::tunnel_task::TunnelTask;
use crate::session::{Priority, StartStage};

impl PoolTask {
    pub(super) fn start(&mut self, id: TunnelId, priority: PoolPriority) {
        let priority = match priority {
            PoolPriority::Waiter => Priority::connection(),
            PoolPriority::Warm => Priority::warm_session(),
        };
        let Some(remote) = self.remote(id) else {
            // The connection has left; its tunnel is cancelled next.
            return;
        };
        let tunnel_task = TunnelTask {
            id,
            context: self.context.clone(),
            targets: start_request::targets(&self.settings, &self.context),
            request: start_request::request(&self.settings, remote, &self.context.origin),
            tunnel_options: start_request::tunnel_options(
                &self.settings,
                &self.context,
                &self.metrics,
            ),
            priority: priority.clone(),
            connect_timeout: self.settings.connect_timeout,
            events: self.requests.clone(),
        };
        let task = self
            .tasks
            .spawn(tunnel_task.run().instrument(Span::current()));
        let record = TunnelRecord {
            priority,
            task,
            stage: StartStage::RateLimit,
            session: self.sessions.add(id),
            tunnel: None,
            disconnected: None,
        };
        self.tunnels.insert(id, record);
    }

    /// Returns the destination of a tunnel: that of its connection, else that of the forward.
    fn remote(&self, id: TunnelId) -> Option<&config::Remote> {
        if !self.settings.is_proxy() {
            return Some(&self.settings.remote);
        }
        let waiter = self.waiters.get(&self.pool.owner(id)?)?;
        waiter.requested.as_ref()
    }

    pub(super) fn give(&mut self, waiter: WaiterId, id: TunnelId) {
        let Some(Waiter { reply, permit, .. }) = self.waiters.remove(&waiter) else {
            // It left after the pool had decided, and will not release what it never got.
            let now = clock::now();
            return self.pool.handle_returned(now, id, Returned::Unused);
        };
        let Some(record) = self.tunnels.get(&id) else {
            return;
        };
        let Some(tunnel) = record.tunnel.clone() else {
            return;
        };
        let timeline = record.session.timeline();
        let guard = SlotGuard::new(id, permit, self.requests.clone());
        // If the receiver was dropped, the lease is dropped too and returns its slot.
        let _left = reply.send(Ok(Lease::new(tunnel, timeline, guard)));
    }

    pub(super) fn refuse(&mut self, waiter: WaiterId, why: RejectReason<ConnectFailure>) {
        let (failure, timeline) = match why {
            RejectReason::Failed(failure) => (failure, self.failed.unwrap_or_default()),
            RejectReason::Late => {
                let step = step(self.tunnels.values(), self.throttled.as_ref());
                (ConnectFailure::TimedOut(step), self.sessions.opening())
            }
        };
        let now = clock::now();
        let omitted = match self.is_of_one(&failure) {
            true => self.log_of_destinations.handle_failure(now, &failure, 1),
            false => {
                self.metrics.record_failure(failure.status(now));
                self.log_dedup.handle_failure(now, &failure, 1)
            }
        };
        if let Some(Waiter { reply, .. }) = self.waiters.remove(&waiter) {
            // Receiver dropped: ignore.
            let _left = reply.send(Err(SlotRefusal {
                failure,
                omitted,
                timeline: Box::new(timeline),
            }));
        }
    }

    pub(super) fn retire(&mut self, id: TunnelId) {
        let Some(TunnelRecord { tunnel, task, .. }) = self.tunnels.remove(&id) else {
            return;
        };
        if let Some(tunnel) = tunnel {
            tunnel.close();
        }
        self.ending.push((clock::now() + CLOSE_TIMEOUT, task));
    }
}
