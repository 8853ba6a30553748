//! The driver of a bundle: moves bytes between a [`crate::bundle::Bundle`], its stripes and the
//! users of its flows. Both ends of the relay protocol use it.
//!
//! ```text
//!   daemon: BundleHandle::open ──▶ Flow ─┐            ┌─ stripe task ══ byte stream
//!   relay:  BundleHandle::next_open ─────┤  Bundle    ├─ stripe task ══ byte stream
//!           Flow::read, write, finish ◀─▶│ (one lock) │  …
//!                                        └────────────┴─ Driver: deadlines, stripe tasks
//! ```
//!
//! [`daemon`] or [`relay`] create a handle and a [`Driver`], whose [`Driver::run`] must be run for
//! as long as the bundle is used. The user adds stripes, as byte streams:
//!
//! - daemon: [`BundleHandle::wait_for_demand`] returns when there are fewer stripes than the bundle
//!   wants; [`BundleHandle::connect_stripe`] adds one. [`StripeHandle::ended`] returns why it ended.
//! - relay: [`BundleHandle::accept_stripe`] adds one, whose HELLO was read.
//!
//! Guarantees:
//! - The bundle is locked for one call at a time, and never across an await. A caller also
//!   transmits on all stripes that take bytes, and wakes the tasks of its events, after the lock.
//! - Nothing is queued outside the bundle but one transmission (16 KiB) per stripe, and 16 KiB of a
//!   flow that is read compressed.
//! - A flow that is dropped before both of its directions have ended is reset. A read returns
//!   [`FlowRead::End`] only if the peer has ended its direction, after all of its bytes.
//! - A panic in the code of a byte stream loses that stripe. After any other panic, or if the driver
//!   is dropped, the bundle has ended and its flows are reset.

mod codec;
mod driver;
mod flow;
mod handle;
mod shared;
mod status;
mod stripe;
mod transfer;

pub use self::driver::{Driver, daemon, relay};
pub use self::flow::{Flow, IncomingFlow};
pub use self::handle::{BundleHandle, OpenFlowError};
pub use self::shared::BundleEnd;
pub use self::status::{BundleStatus, StripeStatus};
pub use self::stripe::{StripeHandle, StripeOutcome};
pub use self::transfer::{FlowClosed, FlowRead};

#[cfg(test)]
mod tests;
