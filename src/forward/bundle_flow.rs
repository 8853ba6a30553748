//! Passes bytes between a client and its flow, both ways, and the end of each direction for itself.
//!
//! ```text
//!   client's end ─▶ finish                flow's end ─▶ FIN
//!   client's reset ─▶ reset               flow's reset ─▶ reset
//! ```
//!
//! A client that has closed its connection takes no bytes, but those it sent before must arrive: what
//! the destination sends is discarded then, for a limited time.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use super::bundle_client::OpenFlow;
use super::client::Connection;
use super::connections::ActiveConnection;
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

/// Transfers until both directions have ended, or one of them fails. `idle` is the timeout after the
/// end of the client.
pub(super) async fn transfer(
    connection: &Connection,
    flow: &OpenFlow,
    idle: Duration,
    active: &ActiveConnection,
) -> TransferEnd {
    let end = exchange(connection, flow, idle, active).await;
    match end {
        // stdin was read further than the flow took.
        TransferEnd::Ended if active.counters.read() != active.counters.sent() => {
            TransferEnd::UploadIncomplete
        }
        TransferEnd::Ended => tokio::select! {
            biased;
            () = received(flow) => end,
            () = flow.flow.aborted() => TransferEnd::Reset,
            () = connected_for(flow, idle) => TransferEnd::Reset,
        },
        TransferEnd::ClientClosed | TransferEnd::HalfCloseTimeout
            if !flow.flow.is_received() || active.counters.read() != active.counters.sent() =>
        {
            TransferEnd::UploadIncomplete
        }
        TransferEnd::ClientClosed
        | TransferEnd::UploadIncomplete
        | TransferEnd::HalfCloseTimeout
        | TransferEnd::Reset => end,
    }
}

/// Returns when the relay has received everything.
async fn received(flow: &OpenFlow) {
    let mut pause = FIRST_PAUSE;
    while !flow.flow.is_received() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn exchange(
    connection: &Connection,
    flow: &OpenFlow,
    idle: Duration,
    active: &ActiveConnection,
) -> TransferEnd {
    let mut uploading = pin!(upload(connection, flow, idle, active));
    let mut downloading = pin!(download(connection, flow, active));
    tokio::select! {
        biased;
        down = &mut downloading => match down {
            // The client may still send.
            Download::Ended if connection.finish() => tokio::select! {
                up = uploading => up.into(),
                () = flow.flow.aborted() => TransferEnd::Reset,
                // A client that does not notice the end holds its slot no longer.
                () = until_idle(flow, idle) => TransferEnd::Ended,
            },
            // The reader of stdout may wait for its end before stdin ends.
            Download::Ended => tokio::select! {
                up = uploading => up.into(),
                () = flow.flow.aborted() => TransferEnd::Reset,
                () = until_quiet(flow, idle, active) => {
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
                    up = &mut uploading => left(up, flow, idle).await,
                    discarded = discard_all(flow) => match discarded {
                        // The destination may still read.
                        TransferEnd::ClientClosed => left(uploading.await, flow, idle).await,
                        TransferEnd::Ended
                        | TransferEnd::UploadIncomplete
                        | TransferEnd::HalfCloseTimeout
                        | TransferEnd::Reset => discarded,
                    },
                }
            }
        },
        up = &mut uploading => match up {
            Upload::Ended => half_closed(connection, flow, downloading, idle, active).await,
            Upload::ClientReset | Upload::NotTaken | Upload::Reset => up.into(),
        },
    }
}

/// The client has ended its direction, and the flow was finished.
async fn half_closed(
    connection: &Connection,
    flow: &OpenFlow,
    downloading: Pin<&mut impl Future<Output = Download>>,
    idle: Duration,
    active: &ActiveConnection,
) -> TransferEnd {
    active.set_phase(Phase::HalfClosed);
    tokio::select! {
        biased;
        down = downloading => match down {
            Download::Ended => return TransferEnd::Ended,
            Download::Reset => return TransferEnd::Reset,
            Download::ClientReset => return TransferEnd::ClientClosed,
            Download::ClientClosed => {}
        },
        () = connection.client_closed() => {}
        () = until_idle(flow, idle) => return TransferEnd::HalfCloseTimeout,
    }
    active.set_phase(Phase::Flushing);
    match matches!(connection, Connection::Stdio(_)) {
        true => reader_left(flow).await,
        false => leave(flow, idle).await,
    }
}

/// stdout has no reader: what was read from stdin must still arrive. The flow was finished.
async fn reader_left(flow: &OpenFlow) -> TransferEnd {
    let arrived = async {
        received(flow).await;
        // The reset that follows would discard what the relay has not written yet.
        tokio::time::sleep(LAST_WRITE).await;
    };
    tokio::select! {
        biased;
        () = arrived => TransferEnd::ClientClosed,
        () = flow.flow.aborted() => TransferEnd::Reset,
        () = connected_for(flow, FINAL_UPLOAD) => TransferEnd::UploadIncomplete,
    }
}

/// The client has closed, and its upload has ended.
async fn left(up: Upload, flow: &OpenFlow, idle: Duration) -> TransferEnd {
    match up {
        Upload::Ended => leave(flow, idle).await,
        Upload::ClientReset | Upload::NotTaken | Upload::Reset => up.into(),
    }
}

/// The client has closed, and the flow was finished: gives the destination time to take everything.
async fn leave(flow: &OpenFlow, limit: Duration) -> TransferEnd {
    let leaving = async {
        let end = discard_all(flow).await;
        if end == TransferEnd::ClientClosed {
            received(flow).await;
        }
        end
    };
    tokio::select! {
        end = leaving => end,
        () = connected_for(flow, limit) => TransferEnd::HalfCloseTimeout,
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
    idle: Duration,
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
                return match reader_left(flow).await {
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
                () = client_closing(connection, flow, idle) => return Upload::NotTaken,
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
/// returns when nothing moved for `idle` after that.
async fn client_closing(connection: &Connection, flow: &OpenFlow, idle: Duration) {
    tokio::time::sleep(CLOSE_POLL_DELAY).await;
    connection.client_closed().await;
    connected_for(flow, idle).await;
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

/// Returns when no byte has moved for `idle` (accurate to 1/8 of it) while there was a stripe.
async fn until_idle(flow: &OpenFlow, idle: Duration) {
    let mut before = flow.flow.traffic();
    let mut quiet_checks = 0;
    while quiet_checks < CHECKS_PER_TIMEOUT {
        tokio::time::sleep(idle / CHECKS_PER_TIMEOUT).await;
        let now = flow.flow.traffic();
        let is_quiet = now == before && flow.is_connected();
        quiet_checks = if is_quiet { quiet_checks + 1 } else { 0 };
        before = now;
    }
}

/// Returns when nothing has come from stdin for [`STDIN_QUIET`], or the flow has taken nothing for
/// `idle`.
async fn until_quiet(flow: &OpenFlow, idle: Duration, active: &ActiveConnection) {
    let nothing_left = async {
        until_idle(flow, STDIN_QUIET).await;
        while active.counters.read() != active.counters.sent() {
            until_idle(flow, STDIN_QUIET).await;
        }
    };
    tokio::select! {
        () = nothing_left => {}
        () = until_idle(flow, idle) => {}
    }
}

/// Returns when there were stripes for a time (accurate to 1/8 of it).
async fn connected_for(flow: &OpenFlow, time: Duration) {
    let mut checks = 0;
    while checks < CHECKS_PER_TIMEOUT {
        tokio::time::sleep(time / CHECKS_PER_TIMEOUT).await;
        checks += u32::from(flow.is_connected());
    }
}

/// Maximum bytes per write to a client.
const WRITE_BUFFER: usize = 64 * 1024;

/// Pause between checks whether everything was received, initial and maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Checks for traffic per timeout.
const CHECKS_PER_TIMEOUT: u32 = 8;

/// After the destination has ended its direction, stdin is passed on until nothing moves for this
/// time.
const STDIN_QUIET: Duration = Duration::from_millis(500);

/// Time for the relay to receive what was read from stdin after stdout has lost its reader.
const FINAL_UPLOAD: Duration = Duration::from_secs(5);

/// Time for the relay to write the last of it.
const LAST_WRITE: Duration = Duration::from_millis(250);

/// How long a flow must be blocked before its client is polled for a close.
const CLOSE_POLL_DELAY: Duration = Duration::from_secs(1);
