//! A bundle, as its users see it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::flow::{Flow, IncomingFlow};
use super::shared::{BundleEnd, FlowSlot, Shared, StripeSlot};
use super::status::BundleStatus;
use super::stripe::{StripeHandle, StripeTask};
use crate::bundle::error::OpenError;
use crate::bundle::handshake::{Hello, RefusalClass};
use crate::bundle::ids::StripeId;
use crate::bundle::record::FailureClass;
use crate::bundle::report::StripePhase;
use crate::printable::Printable;

/// A bundle that a driver runs. Clones are the same bundle. Dropping it does not end the bundle.
#[derive(Clone, Debug)]
pub struct BundleHandle {
    shared: Arc<Shared>,
    add: mpsc::Sender<StripeTask>,
}

/// Why a flow is not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenFlowError {
    /// The bundle cannot open one now.
    #[error(transparent)]
    Bundle(#[from] OpenError),
    /// The relay could not connect it.
    #[error("{1}")]
    Failed(FailureClass, Printable),
    /// The relay aborted it.
    #[error("reset by the relay")]
    Reset,
    /// The bundle has ended.
    #[error("{0}")]
    Ended(BundleEnd),
}

impl BundleHandle {
    pub(super) fn new(shared: Arc<Shared>, add: mpsc::Sender<StripeTask>) -> Self {
        Self { shared, add }
    }

    /// Opens a flow to a host and port; port 0 for a Unix socket (daemon). Waits until the relay
    /// has connected it, also while there is no stripe: the caller has a deadline. Cancel safe: the
    /// flow is reset.
    ///
    /// # Errors
    /// The flow is not open.
    pub async fn open(&self, host: &str, port: u16) -> Result<Flow, OpenFlowError> {
        let id = self.shared.with(|inner, now| {
            let id = inner.bundle.open(now, host, port)?;
            inner.flows.insert(id, FlowSlot::default());
            Ok::<_, OpenError>(id)
        })?;
        let flow = Flow::new(Arc::clone(&self.shared), id);
        match flow.opened().await {
            Ok(()) => Ok(flow),
            Err(Some((class, text))) => Err(OpenFlowError::Failed(class, text)),
            Err(None) => Err(match self.end() {
                Some(end) => OpenFlowError::Ended(end),
                None => OpenFlowError::Reset,
            }),
        }
    }

    /// Waits for a flow to connect (relay). `None` if the bundle has ended. One task calls this.
    pub async fn next_open(&self) -> Option<IncomingFlow> {
        poll_fn(|context| self.poll_open(context)).await
    }

    fn poll_open(&self, context: &Context<'_>) -> Poll<Option<IncomingFlow>> {
        let mut inner = self.shared.lock();
        if let Some((id, destination)) = inner.incoming.pop_front() {
            let flow = Flow::new(Arc::clone(&self.shared), id);
            return Poll::Ready(Some(IncomingFlow::new(flow, destination)));
        }
        if inner.is_ended() {
            return Poll::Ready(None);
        }
        inner.wait_for_incoming(context);
        Poll::Pending
    }

    /// Returns true if a stripe carries records.
    pub fn is_connected(&self) -> bool {
        let stripes = self.status().stripes;
        let mut phases = stripes.iter().map(|stripe| stripe.report.phase);
        phases.any(|phase| !matches!(phase, StripePhase::Greeting))
    }

    /// Returns true if the peer has answered on a stripe.
    pub fn is_welcomed(&self, id: StripeId) -> bool {
        let stripes = self.status().stripes;
        let mut reports = stripes.iter().map(|stripe| stripe.report);
        reports.any(|report| report.id == id && report.phase != StripePhase::Greeting)
    }

    /// Waits until the bundle opens no more flows.
    pub async fn closing(&self) {
        let mut demand = self.shared.demand.subscribe();
        let is_closing = demand.wait_for(|demand| !demand.is_open);
        drop(is_closing.await);
    }

    /// Waits until there are fewer stripes than wanted, connecting ones and those that are being
    /// started elsewhere (`starting`) included (daemon). Returns how many are missing; `None` if the
    /// bundle has ended.
    pub async fn wait_for_demand(&self, starting: usize) -> Option<usize> {
        let mut demand = self.shared.demand.subscribe();
        let missing = async {
            let demand = demand
                .wait_for(|demand| demand.present + starting < demand.wanted)
                .await;
            demand
                .ok()
                .map(|demand| demand.wanted - demand.present - starting)
        };
        tokio::select! {
            biased;
            _ = self.ended() => None,
            missing = missing => missing,
        }
    }

    /// Adds a byte stream to the relay's port as stripe (daemon). The driver writes and flushes it,
    /// shuts it down at the end and drops it. `None` if the bundle has ended or has too many.
    pub fn connect_stripe<S>(&self, io: S) -> Option<StripeHandle>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let id = self.shared.with(|inner, now| {
            let id = inner.bundle.connect_stripe(now)?;
            inner.stripes.insert(id, StripeSlot::default());
            Some(id)
        })?;
        self.start(id, io, Vec::new())
    }

    /// Adds a byte stream that began with a HELLO for this bundle (relay). `received` are the bytes
    /// after it.
    ///
    /// # Errors
    /// The stripe must be refused with this class.
    pub fn accept_stripe<S>(
        &self,
        hello: &Hello,
        io: S,
        received: Vec<u8>,
    ) -> Result<StripeHandle, (RefusalClass, S)>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let accepted = self.shared.with(|inner, now| {
            let id = inner.bundle.accept_stripe(now, hello)?;
            inner.stripes.insert(id, StripeSlot::default());
            Ok(id)
        });
        match accepted {
            Ok(id) => {
                let (task, handle) = StripeTask::new(Arc::clone(&self.shared), id, io, received);
                // If the driver has ended, the task is dropped, and the stripe is lost.
                drop(self.add.try_send(task));
                Ok(handle)
            }
            Err(class) => Err((class, io)),
        }
    }

    fn start<S>(&self, id: StripeId, io: S, received: Vec<u8>) -> Option<StripeHandle>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (task, handle) = StripeTask::new(Arc::clone(&self.shared), id, io, received);
        self.add.try_send(task).ok().map(|()| handle)
    }

    /// Closes the bundle: resets its flows, tells the peer, and ends within some seconds.
    pub fn close(&self) {
        self.shared.with(|inner, now| {
            inner.bundle.close(now);
            inner.reset_flows();
        });
    }

    /// Waits until the bundle has ended. Its stripes may still be closing; see
    /// [`super::Driver::run`].
    pub async fn ended(&self) -> BundleEnd {
        let mut ended = self.shared.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await;
        let end = end.ok().and_then(|end| end.clone());
        end.unwrap_or(BundleEnd::Internal)
    }

    /// Returns why the bundle has ended, if it has.
    pub fn end(&self) -> Option<BundleEnd> {
        self.shared.ended.borrow().clone()
    }

    /// Panics while the bundle is locked.
    #[cfg(test)]
    pub(super) fn panic_under_lock(&self) {
        self.shared.with(|_, _| panic!("injected"));
    }

    /// Returns how many frames may be opened, and how many of the peer may be read.
    #[cfg(test)]
    pub(super) fn free_frames(&self) -> (usize, usize) {
        let frames = &self.shared.frames;
        let free = [&frames.outbound, &frames.inbound].map(|frames| frames.available_permits());
        (free[0], free[1])
    }

    /// Returns the state of the bundle, for people.
    pub fn status(&self) -> BundleStatus {
        BundleStatus::of(&self.shared)
    }
}
