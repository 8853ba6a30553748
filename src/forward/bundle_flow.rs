//! Passes bytes between a client and its flow, both ways, and the end of each direction for itself.
//!
//! ```text
//!   client's end ─▶ finish                flow's end ─▶ FIN
//!   client's reset ─▶ reset               flow's reset ─▶ reset
//! ```
//!
//! A client that has closed its connection takes no bytes, but those it sent before must arrive: what
//! the destination sends is discarded then, as long as it takes bytes.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use super::bundle_client::OpenFlow;
use super::client::Connection;
use super::connections::ActiveConnection;
use super::delivery::sleep_or_pending;
use super::flow_progress::{
    connected_for, movement, poll_until, received, until_idle, until_quiet, upload_progress,
};
use super::relay::RelayTimeouts;
use crate::bundle_driver::FlowRead;
use crate::telemetry::Phase;

/// How a transfer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferEnd {
    /// Both directions have ended, or stdout must be closed. Every byte was passed on.
    Ended,
    /// The client closed or reset its connection.
    ClientClosed,
    /// The client closed, and the destination does not take the remaining upload.
    UploadIncomplete,
    /// The client half-closed, and then nothing moved for too long.
    HalfCloseTimeout,
    /// The flow was aborted by the destination, the relay, or with its bundle.
    Reset,
}

/// Transfers until both directions have ended, or one of them fails.
pub(super) async fn transfer(
    connection: &Connection,
    flow: &OpenFlow,
    timeouts: RelayTimeouts,
    active: &ActiveConnection,
) -> TransferEnd {
    let end = exchange(connection, flow, timeouts, active).await;
    let is_received = flow.flow.is_received() || flow.flow.is_confirmed();
    match end {
        // stdin was read further than the flow took.
        TransferEnd::Ended if active.counters.read() != active.counters.sent() => {
            TransferEnd::UploadIncomplete
        }
        TransferEnd::Ended => tokio::select! {
            biased;
            () = received(flow) => end,
            () = flow.flow.aborted() => TransferEnd::Reset,
            () = connected_for(flow, timeouts.half_close_idle) => TransferEnd::Reset,
        },
        TransferEnd::ClientClosed | TransferEnd::HalfCloseTimeout
            if !is_received || active.counters.read() != active.counters.sent() =>
        {
            TransferEnd::UploadIncomplete
        }
        TransferEnd::ClientClosed
        | TransferEnd::UploadIncomplete
        | TransferEnd::HalfCloseTimeout
        | TransferEnd::Reset => end,
    }
}

async fn exchange(
    connection: &Connection,
    flow: &OpenFlow,
    timeouts: RelayTimeouts,
    active: &ActiveConnection,
) -> TransferEnd {
    let mut uploading = pin!(upload(connection, flow, timeouts, active));
    let mut downloading = pin!(download(connection, flow, active));
    tokio::select! {
        biased;
        down = &mut downloading => match down {
            // The client may still send.
            Download::Ended if connection.finish() => tokio::select! {
                up = uploading => up.into(),
                () = flow.flow.aborted() => TransferEnd::Reset,
                // A client that does not notice the end holds its slot no longer.
                () = until_idle(flow, movement, timeouts.half_close_idle) => TransferEnd::Ended,
            },
            // The reader of stdout may wait for its end before stdin ends.
            Download::Ended => tokio::select! {
                up = uploading => up.into(),
                () = flow.flow.aborted() => TransferEnd::Reset,
                () = until_quiet(flow, timeouts.half_close_idle, active) => {
                    // Bytes that the relay has not written yet must not be discarded.
                    flow.flow.finish();
                    TransferEnd::Ended
                }
            },
            Download::Reset => TransferEnd::Reset,
            Download::ClientReset => TransferEnd::ClientClosed,
            Download::ClientClosed => {
                active.set_phase(Phase::Flushing);
                tokio::select! {
                    up = &mut uploading => left(up, flow, timeouts, active).await,
                    discarded = discard_all(flow) => match discarded {
                        // The destination may still read.
                        TransferEnd::ClientClosed => {
                            left(uploading.await, flow, timeouts, active).await
                        }
                        TransferEnd::Ended
                        | TransferEnd::UploadIncomplete
                        | TransferEnd::HalfCloseTimeout
                        | TransferEnd::Reset => discarded,
                    },
                }
            }
        },
        up = &mut uploading => match up {
            Upload::Ended => half_closed(connection, flow, downloading, timeouts, active).await,
            Upload::ClientReset | Upload::NotTaken | Upload::Reset => up.into(),
        },
    }
}

/// The client has ended its direction, and the flow was finished.
async fn half_closed(
    connection: &Connection,
    flow: &OpenFlow,
    downloading: Pin<&mut impl Future<Output = Download>>,
    timeouts: RelayTimeouts,
    active: &ActiveConnection,
) -> TransferEnd {
    active.set_phase(Phase::HalfClosed);
    let idle = timeouts.half_close_idle;
    tokio::select! {
        biased;
        down = downloading => match down {
            Download::Ended => return TransferEnd::Ended,
            Download::Reset => return TransferEnd::Reset,
            Download::ClientReset => return TransferEnd::ClientClosed,
            Download::ClientClosed => {}
        },
        () = connection.client_closed() => {}
        () = until_idle(flow, movement, idle) => {
            return match flow.flow.is_confirmed() {
                true => TransferEnd::HalfCloseTimeout,
                false => TransferEnd::UploadIncomplete,
            };
        }
    }
    active.set_phase(Phase::Flushing);
    match matches!(connection, Connection::Stdio(_)) {
        true => reader_left(flow, timeouts).await,
        false => leave(flow, timeouts, active).await,
    }
}

/// stdout has no reader: what was read from stdin must still arrive. The flow was finished.
async fn reader_left(flow: &OpenFlow, timeouts: RelayTimeouts) -> TransferEnd {
    let late = timeouts.flush_total.unwrap_or(timeouts.flush_idle);
    // After both ends, nothing more is confirmed.
    let has_arrived = || flow.flow.is_confirmed() || flow.flow.is_over();
    tokio::select! {
        biased;
        () = poll_until(has_arrived) => TransferEnd::ClientClosed,
        () = flow.flow.aborted() => TransferEnd::Reset,
        () = connected_for(flow, late) => TransferEnd::UploadIncomplete,
    }
}

/// The client has closed, and its upload has ended.
async fn left(
    up: Upload,
    flow: &OpenFlow,
    timeouts: RelayTimeouts,
    active: &ActiveConnection,
) -> TransferEnd {
    match up {
        Upload::Ended => leave(flow, timeouts, active).await,
        Upload::ClientReset | Upload::NotTaken | Upload::Reset => up.into(),
    }
}

/// The client has closed, and the flow was finished: gives the destination time to take everything,
/// as long as it takes bytes, and then some to end too.
async fn leave(flow: &OpenFlow, timeouts: RelayTimeouts, active: &ActiveConnection) -> TransferEnd {
    active.set_phase(Phase::Flushing);
    let ending = async {
        let end = discard_all(flow).await;
        if end == TransferEnd::ClientClosed {
            received(flow).await;
        }
        end
    };
    let taken = async {
        poll_until(|| flow.flow.is_confirmed()).await;
        connected_for(flow, timeouts.half_close_idle).await;
    };
    let late = async {
        tokio::select! {
            () = until_idle(flow, upload_progress, timeouts.flush_idle) => {}
            () = sleep_or_pending(timeouts.flush_total) => {}
        }
    };
    tokio::select! {
        biased;
        end = ending => end,
        () = taken => TransferEnd::ClientClosed,
        () = late => match flow.flow.is_confirmed() {
            true => TransferEnd::ClientClosed,
            false => TransferEnd::UploadIncomplete,
        },
    }
}

async fn discard_all(flow: &OpenFlow) -> TransferEnd {
    loop {
        match flow.flow.read(WRITE_BUFFER).await {
            FlowRead::Data(_) => {}
            FlowRead::End => return TransferEnd::ClientClosed,
            FlowRead::Reset => return TransferEnd::Reset,
        }
    }
}

/// How the direction towards the destination has ended.
enum Upload {
    /// With the client's end, which was passed on.
    Ended,
    /// The client has reset its connection.
    ClientReset,
    /// The client has closed, and nothing is taken.
    NotTaken,
    /// The flow was aborted.
    Reset,
}

impl From<Upload> for TransferEnd {
    fn from(upload: Upload) -> Self {
        match upload {
            Upload::Ended => Self::Ended,
            Upload::ClientReset => Self::ClientClosed,
            Upload::NotTaken => Self::UploadIncomplete,
            Upload::Reset => Self::Reset,
        }
    }
}

/// Passes on what the client sends, and its end.
async fn upload(
    connection: &Connection,
    flow: &OpenFlow,
    timeouts: RelayTimeouts,
    active: &ActiveConnection,
) -> Upload {
    let counters = &active.counters;
    loop {
        let bytes = match connection.read().await {
            Ok(bytes) if bytes.is_empty() => {
                flow.flow.finish();
                return Upload::Ended;
            }
            Ok(bytes) => bytes,
            // Only of stdin and stdout; a socket is reset.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                flow.flow.finish();
                return match reader_left(flow, timeouts).await {
                    TransferEnd::UploadIncomplete => Upload::NotTaken,
                    TransferEnd::Reset => Upload::Reset,
                    TransferEnd::Ended
                    | TransferEnd::ClientClosed
                    | TransferEnd::HalfCloseTimeout => Upload::ClientReset,
                };
            }
            Err(_) => return Upload::ClientReset,
        };
        counters.add_read(bytes.len());
        active.first_bytes.handle_read(&bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = tokio::select! {
                biased;
                taken = flow.flow.write(rest) => taken,
                () = client_closing(connection, flow, timeouts, active) => return Upload::NotTaken,
            };
            let Ok(taken) = taken else {
                return Upload::Reset;
            };
            counters.add_sent(taken);
            rest = &rest[taken..];
        }
    }
}

/// While the flow takes nothing, the end of the client is not noticed by a read. Polls for it, and
/// returns when nothing moved for `flush_idle` after that.
async fn client_closing(
    connection: &Connection,
    flow: &OpenFlow,
    timeouts: RelayTimeouts,
    active: &ActiveConnection,
) {
    if !active.is_flushing() {
        tokio::time::sleep(CLOSE_POLL_DELAY).await;
        connection.client_closed().await;
        active.set_phase(Phase::Flushing);
    }
    until_idle(flow, upload_progress, timeouts.flush_idle).await;
}

/// How the direction towards the client has ended.
enum Download {
    /// With the destination's end. The client has everything before it.
    Ended,
    /// The client has closed its connection.
    ClientClosed,
    /// The client has reset its connection.
    ClientReset,
    /// The flow was aborted.
    Reset,
}

/// Passes on what the destination sends, until it ends.
async fn download(connection: &Connection, flow: &OpenFlow, active: &ActiveConnection) -> Download {
    let counters = &active.counters;
    let mut is_first = true;
    loop {
        let bytes = match flow.flow.read(WRITE_BUFFER).await {
            FlowRead::Data(bytes) => bytes,
            FlowRead::End => return Download::Ended,
            FlowRead::Reset => return Download::Reset,
        };
        if std::mem::take(&mut is_first) {
            active.first_bytes.handle_answer();
        }
        let written = |len| counters.add_received(len);
        let written = tokio::select! {
            written = connection.write_all(&bytes, written) => written,
            // The rest of what was received before is lost with the flow.
            () = flow.flow.aborted() => return Download::Reset,
        };
        match written {
            Ok(()) => {}
            // The kernel tells a reset after the client's end from one without it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Download::ClientClosed;
            }
            Err(_) => return Download::ClientReset,
        }
    }
}

/// Maximum bytes per write to a client.
const WRITE_BUFFER: usize = 64 * 1024;

/// How long a flow must be blocked before its client is polled for a close.
const CLOSE_POLL_DELAY: Duration = Duration::from_secs(1);
