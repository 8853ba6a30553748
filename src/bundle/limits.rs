//! Bounds and times of the protocol (`docs/relay-protocol.md`, section 9).

use std::time::Duration;

/// Maximum length of the body of a record, in bytes: 16 KiB with its header.
pub const MAX_BODY: usize = 16 * 1024 - 16;

/// Maximum number of bytes of a flow in one DATA record.
pub const MAX_DATA: usize = MAX_BODY - 8;

/// Maximum length of a host name or path in OPEN, in bytes.
pub const MAX_HOST: usize = 255;

/// Maximum length of a text in FAILED, GOODBYE and REFUSED, in bytes.
pub const MAX_TEXT: usize = 512;

/// Maximum number of flows that the daemon has open at the same time.
pub const MAX_FLOWS: usize = 4096;

/// Maximum number of flows that a relay knows: the open ones, and as many that it refuses.
pub const MAX_KNOWN_FLOWS: usize = 2 * MAX_FLOWS;

/// Maximum number of stripes of a bundle, dead ones included that are not yet noticed.
pub const MAX_STRIPES: usize = 64;

/// A record is sent only if fewer than this many numbers lie between it and the first record that
/// is not acknowledged.
pub const RECORD_WINDOW: u64 = 16 * 1024;

/// Maximum number of bytes in records that were sent and not acknowledged.
pub const MAX_KEPT: u64 = 48 * 1024 * 1024;

/// Credit of every flow, also if no more is left for it, in bytes.
pub const MIN_CREDIT: u64 = 8 * 1024;

/// Credit of a new flow, in bytes, if the bundle has few flows.
pub const INITIAL_CREDIT: u64 = 256 * 1024;

/// Maximum credit of a flow, in bytes.
pub const MAX_CREDIT: u64 = 4 * 1024 * 1024;

/// The limit in CREDIT with which a relay confirms that the destination took everything, and the end.
pub const CONFIRMED: u64 = u64::MAX;

/// Maximum credit of all flows of a bundle, in bytes.
pub const BUNDLE_CREDIT: u64 = 64 * 1024 * 1024;

/// Bytes that wait to be sent, divided by the number of flows: what a flow may add. If the flows
/// come one after the other, all together have up to 4.5 times as many.
pub const MAX_UNSENT: usize = 8 * 1024 * 1024;

/// Maximum number of bytes of one flow that wait to be sent.
pub const MAX_FLOW_UNSENT: usize = 64 * 1024;

/// An acknowledgement is sent after this many bytes.
pub const ACK_BYTES: usize = 16 * 1024;

/// An acknowledgement is sent after this time.
pub const ACK_DELAY: Duration = Duration::from_millis(10);

/// Minimum limit of unacknowledged bytes of a stripe.
pub const MIN_FLIGHT: u64 = 32 * 1024;

/// Maximum limit of unacknowledged bytes of a stripe.
pub const MAX_FLIGHT: u64 = 2 * 1024 * 1024;

/// Maximum number of records of a stripe that wait for an acknowledgement.
pub const MAX_FLIGHT_RECORDS: usize = 4096;

/// Time to wait for WELCOME.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// A stripe of a bundle with flows that received nothing for this long is asked with PING.
pub const PING_AFTER: Duration = Duration::from_secs(5);

/// The same for a bundle without flows.
pub const IDLE_PING_AFTER: Duration = Duration::from_secs(30);

/// A stripe is lost if it received nothing for this long after something that is answered.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// Minimum time without an acknowledgement after which the records of a stripe are sent again on
/// others.
pub const MIN_SUSPICION: Duration = Duration::from_secs(1);

/// The bundle asks for another stripe if all were full for this long.
pub const SATURATION: Duration = Duration::from_millis(300);

/// A bundle that moves less than this in its idle time needs one stripe only.
pub const IDLE_BYTES: u64 = 1024 * 1024;

/// Time limit of an orderly end.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
