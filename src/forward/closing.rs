//! Closes a connection whose destination has ended: the client still reads its final bytes.

use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::debug;

use super::client::{Connection, Delivery};
use super::connections::ActiveConnection;
use super::outcome::Outcome;
use super::shutdown::ShutdownWatch;

/// Closes a connection gracefully, and records it: with this outcome once the client has all bytes,
/// else with what prevented that. A client that does not read its final bytes delays this, so the
/// number of such connections is limited by `lingering`; for the others, the kernel keeps delivering
/// for some minutes.
pub(super) async fn close(
    outcome: &Outcome,
    connection: Connection,
    active: &ActiveConnection,
    lingering: &Semaphore,
    mut stop: ShutdownWatch,
    record: impl FnOnce(Outcome),
) {
    let Some(_permit) = try_linger(lingering) else {
        record(outcome.clone());
        return connection.close_without_waiting();
    };
    // The delivery and the close first: they begin with FIN, and a connection that is dropped before
    // that is reset.
    let ended = tokio::select! {
        biased;
        delivery = connection.deliver() => match delivery {
            Delivery::Complete => outcome.clone(),
            Delivery::LeftToKernel => {
                record(outcome.clone());
                return connection.close_without_waiting();
            }
            Delivery::ClientClosed => Outcome::ClientClosed,
        },
        () = active.close_requested() => Outcome::ClosedByOperator,
        () = stop.aborting() => Outcome::Stopped,
    };
    let is_reset = ended == Outcome::ClosedByOperator;
    record(ended);
    if is_reset {
        return connection.reset();
    }
    close_unless_aborted(connection, &mut stop).await;
}

/// Closes a connection gracefully whose client got an answer instead of a session.
pub(super) async fn close_answered(
    connection: Connection,
    lingering: &Semaphore,
    mut stop: ShutdownWatch,
) {
    let Some(_permit) = try_linger(lingering) else {
        return connection.close_without_waiting();
    };
    close_unless_aborted(connection, &mut stop).await;
}

/// The close first: it begins with FIN, and dropped before that it would be a reset.
async fn close_unless_aborted(connection: Connection, stop: &mut ShutdownWatch) {
    tokio::select! {
        biased;
        () = connection.close_gracefully() => {}
        () = stop.aborting() => {}
    }
}

fn try_linger(lingering: &Semaphore) -> Option<SemaphorePermit<'_>> {
    let permit = lingering.try_acquire().ok();
    if permit.is_none() {
        debug!(
            "too many clients do not read their final bytes; closing this connection without waiting; the kernel delivers the rest"
        );
    }
    permit
}
