//! Serves one flow: connects it and copies its bytes.
//!
//! ```text
//!   daemon's end ─▶ shutdown(write)      destination's end ─▶ finish
//!   daemon's reset ─▶ reset              destination's reset ─▶ reset
//! ```
//!
//! A destination that takes no more bytes may still send some, which the client must get. So what
//! the client sends is discarded then, until one of them ends.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::{debug, info};

use super::bundles::Bundles;
use super::destination::shown;
use super::dial::BundleLookups;
use super::log_limit::Line;
use super::metrics::Metrics;
use super::socket::Socket;
use crate::bundle::record::{Destination, FailureClass};
use crate::bundle_driver::{Flow, FlowRead, IncomingFlow};
use crate::clock;

/// Connects a flow and copies its bytes until it has ended.
pub(super) async fn run(bundles: Arc<Bundles>, lookups: BundleLookups, incoming: IncomingFlow) {
    let started = clock::now();
    let destination = incoming.destination().clone();
    let dialled = tokio::select! {
        dialled = bundles.dialler.dial(&destination, &lookups) => dialled,
        () = incoming.aborted() => {
            let flow = incoming.id();
            return debug!(%flow, destination = %shown(&destination), "given up by the daemon");
        }
    };
    match dialled {
        Ok(socket) => {
            bundles.metrics.flows.add(1);
            let record = Record::new(incoming.connected(), destination, started);
            exchange(record, socket, &bundles.metrics).await;
            bundles.handle_ended();
        }
        Err((class, error)) => {
            bundles.metrics.failed_flows.add(1);
            if class == FailureClass::NotAllowed {
                bundles.metrics.denied_flows.add(1);
            }
            let (flow, time) = (incoming.id(), clock::since(started));
            let reason = reason_of(class);
            if let Some(Line { omitted }) = bundles.log_limits.failed_flows.admit(clock::now()) {
                let destination = shown(&destination);
                info!(%flow, %destination, reason, %error, ?time, omitted, "not connected");
            }
            incoming.fail(class, error);
        }
    }
}

fn reason_of(class: FailureClass) -> &'static str {
    match class {
        FailureClass::NotAllowed => "not_allowed",
        FailureClass::NotResolved => "not_resolved",
        FailureClass::Refused => "refused",
        FailureClass::Unreachable => "unreachable",
        FailureClass::TimedOut => "timed_out",
        FailureClass::Limit => "limit",
        FailureClass::Other => "other",
    }
}

/// A flow, logged when it is dropped.
struct Record {
    flow: Flow,
    destination: Destination,
    started: Instant,
    reason: &'static str,
}

impl Record {
    fn new(flow: Flow, destination: Destination, started: Instant) -> Self {
        Self {
            flow,
            destination,
            started,
            reason: "stopped",
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (received, sent) = self.flow.traffic();
        let (flow, time) = (self.flow.id(), clock::since(self.started));
        let (destination, reason) = (shown(&self.destination), self.reason);
        info!(%flow, %destination, reason, sent, received, ?time, "connection ended");
    }
}

async fn exchange(mut record: Record, socket: Socket, metrics: &Metrics) {
    let flow = &record.flow;
    let outcome = copy_both(flow, &socket, metrics).await;
    match outcome {
        Outcome::Complete | Outcome::Discarded | Outcome::Left => socket.close_gracefully(),
        Outcome::ResetByDaemon | Outcome::ResetByDestination | Outcome::NotTaken => flow.reset(),
    }
    record.reason = outcome.name();
}

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Both directions have ended.
    Complete,
    ResetByDaemon,
    /// Reset after the client's end, which the destination gets from the kernel, with all bytes.
    Left,
    ResetByDestination,
    /// The destination has ended without taking all bytes of the client.
    NotTaken,
    /// The same, and then the client has ended too.
    Discarded,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ResetByDaemon | Self::Left => "reset_by_daemon",
            Self::ResetByDestination => "reset_by_destination",
            Self::NotTaken | Self::Discarded => "destination_closed",
        }
    }
}

pub(super) async fn copy_both(flow: &Flow, socket: &Socket, metrics: &Metrics) -> Outcome {
    let is_lost = AtomicBool::new(false);
    let mut sending = pin!(send(flow, socket, metrics, &is_lost));
    let mut receiving = pin!(receive(flow, socket, metrics, &is_lost));
    tokio::select! {
        sent = &mut sending => match sent {
            Sent::Reset => Outcome::ResetByDaemon,
            Sent::Complete => tokio::select! {
                biased;
                received = &mut receiving => match received {
                    Ok(()) => Outcome::Complete,
                    Err(Outcome::ResetByDaemon) => Outcome::Left,
                    Err(outcome) => outcome,
                },
                // The destination may be silent for ever.
                () = flow.aborted() => Outcome::Left,
            },
            Sent::NotTaken => discard_while(flow, receiving).await,
        },
        received = &mut receiving => match received {
            Err(outcome) => outcome,
            Ok(()) => match sending.await {
                Sent::Reset => Outcome::ResetByDaemon,
                Sent::Complete => Outcome::Complete,
                Sent::NotTaken => discard(flow, LINGER).await,
            },
        },
    }
}

/// The destination takes no more bytes, but may still send some.
async fn discard_while(
    flow: &Flow,
    receiving: impl Future<Output = Result<(), Outcome>>,
) -> Outcome {
    let aborted = async {
        discard_all(flow).await;
        // The destination may be silent for ever.
        flow.aborted().await;
    };
    tokio::select! {
        received = receiving => match received {
            Ok(()) => discard(flow, LINGER).await,
            Err(outcome) => outcome,
        },
        () = aborted => Outcome::ResetByDaemon,
    }
}

/// The destination has ended and takes no more bytes: gives the client time to read and to end.
async fn discard(flow: &Flow, limit: Duration) -> Outcome {
    match timeout(limit, discard_all(flow)).await {
        Ok(FlowRead::End) => Outcome::Discarded,
        Ok(FlowRead::Reset) => Outcome::ResetByDaemon,
        Ok(FlowRead::Data(_)) | Err(_) => Outcome::NotTaken,
    }
}

async fn discard_all(flow: &Flow) -> FlowRead {
    loop {
        let read = flow.read(MAX_COPY).await;
        if !matches!(read, FlowRead::Data(_)) {
            return read;
        }
    }
}

/// How the direction towards the destination ended.
enum Sent {
    /// With the client's end, which the destination got.
    Complete,
    /// The flow was reset.
    Reset,
    /// The destination takes no more bytes.
    NotTaken,
}

async fn send(flow: &Flow, socket: &Socket, metrics: &Metrics, is_lost: &AtomicBool) -> Sent {
    loop {
        // What is read and not written is beyond the credit of the flow.
        tokio::select! {
            _ready_or_failed = socket.writable() => {}
            () = flow.aborted() => return Sent::Reset,
        }
        match flow.read(MAX_WRITE).await {
            FlowRead::Data(bytes) => {
                let written = tokio::select! {
                    written = socket.write_all(&bytes) => written,
                    () = flow.aborted() => return Sent::Reset,
                };
                if let Err(error) = written {
                    // The kernel reports a reset once; a read after this would look like an end.
                    // With EPIPE the destination had ended before.
                    is_lost.store(error.kind() != io::ErrorKind::BrokenPipe, Relaxed);
                    flow.discard();
                    return Sent::NotTaken;
                }
                metrics.sent.add(bytes.len() as u64);
            }
            FlowRead::End => {
                return match socket.finish() {
                    Ok(()) => Sent::Complete,
                    Err(_) => Sent::NotTaken,
                };
            }
            FlowRead::Reset => return Sent::Reset,
        }
    }
}

async fn receive(
    flow: &Flow,
    socket: &Socket,
    metrics: &Metrics,
    is_lost: &AtomicBool,
) -> Result<(), Outcome> {
    loop {
        let bytes = read_what_fits(flow, socket).await?;
        if bytes.is_empty() {
            if is_lost.load(Relaxed) {
                return Err(Outcome::ResetByDestination);
            }
            flow.finish();
            return Ok(());
        }
        let written = flow.write_all(&bytes).await;
        written.map_err(|_| Outcome::ResetByDaemon)?;
        metrics.received.add(bytes.len() as u64);
    }
}

/// Reads no more than the flow takes: what it does not take is in no bound.
async fn read_what_fits(flow: &Flow, socket: &Socket) -> Result<Vec<u8>, Outcome> {
    loop {
        let lost = |_| Outcome::ResetByDestination;
        socket.readable().await.map_err(lost)?;
        let room = flow.room().await.map_err(|_| Outcome::ResetByDaemon)?;
        let read = socket.try_read(room.min(MAX_COPY)).map_err(lost)?;
        if let Some(bytes) = read {
            return Ok(bytes);
        }
    }
}

/// Maximum bytes of one read from a destination, or of one that are discarded.
const MAX_COPY: usize = 64 * 1024;

/// Maximum bytes of one write to a destination. A socket that takes any takes so many, or nearly.
const MAX_WRITE: usize = 16 * 1024;

/// How long a client may read and send after its destination has closed with unread bytes.
const LINGER: Duration = Duration::from_secs(10);
