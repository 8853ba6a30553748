//! Serves connections of a forward with a relay.
//!
//! ```text
//!   permits ─▶ flow in the bundle ─▶ transfer ─▶ close or reset
//!   └────── connect_timeout ─────┘
//! ```

use std::pin::pin;

use tokio::sync::{SemaphorePermit, watch};
use tokio::time::timeout_at;
use tracing::info;

use super::access_log::{End, EndFailure};
use super::bundle_client::{BundleClient, OpenFlow};
use super::bundle_flow::{TransferEnd, transfer};
use super::client::Connection;
use super::closing::close;
use super::connections::{ActiveConnection, TrackedConnection};
use super::error::ConnectFailure;
use super::handler::{Handler, log_open};
use super::outcome::{Outcome, STOPPING};
use super::pool_handle::SlotRefusal;
use super::relay::NOT_TAKEN;
use super::shutdown::{ShutdownWatch, stopped};
use super::stdio_forward::{CloseReason, StdioError, StdioStage, unless_left};
use crate::clock;
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::telemetry::EndReason;
use crate::tunnel::Step;

/// A connection that the relay has connected, with its permits.
type OpenConnection<'a> = (OpenFlow, (SemaphorePermit<'a>, SemaphorePermit<'a>));

/// How a connection has ended.
enum FlowEnd {
    Transferred(TransferEnd),
    /// The bundle has ended.
    BundleLost(Printable),
    Stopped,
    ClosedByOperator,
}

impl Handler {
    /// Serves a connection. Returns how it ended, if that is not recorded yet.
    pub(super) async fn serve_relayed(
        &self,
        client: &BundleClient,
        tracked: &TrackedConnection,
        connection: Connection,
        mut stop: ShutdownWatch,
    ) -> Option<End> {
        let active = tracked.active();
        let begin = active.accepted();
        let waiting = self.metrics.waiting.count();
        let opened = tokio::select! {
            opened = self.open_relayed(client, active) => opened.map_err(SlotRefusal::end),
            () = stop.draining() => Err(End::new(EndReason::Stopped)),
            () = active.close_requested() => return Some(End::new(EndReason::ClosedByOperator)),
            never = self.log_on_dump(|| info!(time = ?clock::since(begin), "waiting for the relay")) => match never {},
            () = connection.closed_while_waiting() => return Some(End::new(EndReason::ClientLeft)),
        };
        drop(waiting);
        match opened {
            Ok(opened) => {
                self.transfer_relayed(tracked, connection, opened, stop)
                    .await;
            }
            Err(end) => {
                let conclusion = tracked.conclude(end);
                let explain = self
                    .explainer
                    .explain(conclusion, connection, Vec::new(), &mut stop);
                Box::pin(explain).await;
            }
        }
        None
    }

    /// Serves stdin and stdout.
    pub(super) async fn serve_relayed_stdio(
        &self,
        client: &BundleClient,
        tracked: &TrackedConnection,
        connection: Connection,
        mut stop: ShutdownWatch,
        progress: &watch::Sender<StdioStage>,
    ) -> CloseReason {
        let opened = self.open_relayed(client, tracked.active());
        let opened = match unless_left(opened, tracked, &connection, &mut stop).await {
            Ok(opened) => opened,
            Err(reason) => return reason,
        };
        progress.send_replace(StdioStage::Open);
        let end = self
            .transfer_relayed(tracked, connection, opened, stop)
            .await;
        match end {
            FlowEnd::Transferred(TransferEnd::Ended) => CloseReason::DestinationClosed,
            FlowEnd::Transferred(TransferEnd::ClientClosed) => CloseReason::ReaderClosed,
            FlowEnd::Transferred(TransferEnd::HalfCloseTimeout) => CloseReason::HalfCloseTimeout,
            FlowEnd::Transferred(TransferEnd::UploadIncomplete) => CloseReason::Failed(
                StdioError::relayed(ErrorClass::UploadIncomplete, NOT_TAKEN.into()),
            ),
            FlowEnd::Transferred(TransferEnd::Reset) => CloseReason::Failed(StdioError::relayed(
                ErrorClass::UploadIncomplete,
                "the destination has reset the connection".into(),
            )),
            FlowEnd::BundleLost(why) => {
                CloseReason::Failed(StdioError::relayed(ErrorClass::SessionLost, why))
            }
            FlowEnd::Stopped | FlowEnd::ClosedByOperator => CloseReason::Stopped,
        }
    }

    /// Acquires the permits and a flow. Fails after `connect_timeout`.
    async fn open_relayed(
        &self,
        client: &BundleClient,
        active: &ActiveConnection,
    ) -> Result<OpenConnection<'_>, SlotRefusal> {
        let deadline = active.accepted() + self.settings.connect_timeout;
        let permits = self.acquire_permits(deadline).await?;
        active.handle_waiting();
        let opening = client.open(&self.settings.remote);
        match timeout_at(deadline.into(), opening).await {
            Ok(opened) => {
                let flow = opened.inspect_err(|refusal| self.record_relay_failure(refusal))?;
                active.handle_connected();
                // The relay has connected it, before a byte of the destination arrives.
                self.metrics.record_answer(Some(active.accepted()));
                Ok((flow, permits))
            }
            Err(_) => {
                let step = Step::of("the relay on the target");
                Err(SlotRefusal::of(ConnectFailure::TimedOut(step)))
            }
        }
    }

    fn record_relay_failure(&self, refusal: &SlotRefusal) {
        if let ConnectFailure::Relay(class, _) = &refusal.failure
            && *class != ErrorClass::RelayUnavailable
        {
            let status = refusal.failure.status(clock::now());
            self.metrics.record_refusal(status);
        }
    }

    /// Transfers until the connection has ended, and records how.
    async fn transfer_relayed(
        &self,
        tracked: &TrackedConnection,
        connection: Connection,
        (flow, permits): OpenConnection<'_>,
        mut stop: ShutdownWatch,
    ) -> FlowEnd {
        let open = self.metrics.open.count();
        let active = tracked.active();
        let ended = {
            let mut transferring = pin!(transfer(&connection, &flow, self.timeouts, active));
            tokio::select! {
                end = &mut transferring => FlowEnd::Transferred(end),
                () = stopped(&mut stop, &active.counters) => match connection.is_closed().await {
                    // Its end is in the socket, perhaps behind the last bytes of its upload.
                    true => FlowEnd::Transferred(tokio::select! {
                        end = transferring => end,
                        () = stop.grace_over() => match flow.flow.is_confirmed() {
                            true => TransferEnd::ClientClosed,
                            false => TransferEnd::UploadIncomplete,
                        },
                    }),
                    false => FlowEnd::Stopped,
                },
                () = active.close_requested() => FlowEnd::ClosedByOperator,
                never = self.log_on_dump(|| log_open(active)) => match never {},
            }
        };
        let lost = flow.bundle_end();
        let ended = match (ended, lost) {
            (FlowEnd::Transferred(TransferEnd::Reset), Some(why)) => {
                FlowEnd::BundleLost(Printable::of(why))
            }
            (ended, _) => ended,
        };
        if active.counters.received() > 0 {
            self.metrics.record_answer(Some(active.accepted()));
        }
        drop(flow);
        if !matches!(ended, FlowEnd::Transferred(TransferEnd::Ended)) {
            // Before any wait: dropping it resets it.
            drop(connection);
            let undelivered = if stop.is_stopping() {
                STOPPING
            } else {
                NOT_TAKEN
            };
            tracked.record(end(&ended, undelivered));
            return ended;
        }
        drop(permits);
        let destination = Printable::default();
        let record = |outcome: Outcome| {
            tracked.record(outcome.end(None, None, &destination));
            drop(open);
        };
        let outcome = Outcome::DestinationClosed;
        close(&outcome, connection, active, &self.lingering, stop, record).await;
        ended
    }
}

/// Returns the record of an end. `undelivered` says why the destination may not have the final bytes
/// of the client.
fn end(ended: &FlowEnd, undelivered: &str) -> End {
    let reason = match ended {
        FlowEnd::Transferred(TransferEnd::Ended) => EndReason::DestinationClosed,
        FlowEnd::Transferred(TransferEnd::ClientClosed) => EndReason::ClientClosed,
        FlowEnd::Transferred(TransferEnd::UploadIncomplete) => {
            let nowhere = Printable::default();
            return Outcome::UploadIncomplete.end(None, Some(undelivered), &nowhere);
        }
        FlowEnd::Transferred(TransferEnd::HalfCloseTimeout) => EndReason::HalfCloseTimeout,
        FlowEnd::Transferred(TransferEnd::Reset) => EndReason::DestinationClosedEarly,
        FlowEnd::Stopped => EndReason::Stopped,
        FlowEnd::ClosedByOperator => EndReason::ClosedByOperator,
        FlowEnd::BundleLost(why) => {
            let class = ErrorClass::SessionLost;
            let failure = EndFailure {
                class,
                error: why.clone(),
                hint: class.remedy().into(),
            };
            return End::failed(EndReason::SessionLost, failure);
        }
    };
    End::new(reason)
}
