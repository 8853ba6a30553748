//! Report of the relay of a forward: its bundle and the stripes of it, serialized as JSON.

use serde::{Deserialize, Serialize};

use crate::printable::Printable;

/// The relay of a forward at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardRelayReport {
    /// Port of the relay on the target.
    pub port: u16,
    /// Configured maximum number of stripes.
    pub max_stripes: usize,
    /// The bundle, while there is one: from the first connection until it is unused for a while.
    pub bundle: Option<ForwardBundleReport>,
    /// The last failure of a stripe, also after it was replaced.
    pub last_failure: Option<StripeFailureReport>,
}

/// A bundle at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardBundleReport {
    /// Seconds since it began.
    pub age_seconds: u64,
    /// Its connections, those included whose end the relay has not confirmed.
    pub flows: usize,
    /// Stripes that carry data.
    pub stripes_connected: usize,
    /// Stripes whose relay has not answered yet.
    pub stripes_connecting: usize,
    /// Stripes whose relay has stopped acknowledging; their data was sent again on others.
    pub stripes_silent: usize,
    /// Stripes that are no longer needed and are being closed.
    pub stripes_closing: usize,
    /// Stripes that it wants, at most `max_stripes`.
    pub stripes_wanted: usize,
    /// Whether the number of stripes changes.
    pub trend: Trend,
    /// Bytes per second that the relay has received on its stripes at most in the last seconds,
    /// together, once it was measured.
    pub delivery_per_second: Option<u64>,
    /// The longest smoothed round trip of its connected stripes, in milliseconds, once it was
    /// measured.
    pub round_trip_ms: Option<u64>,
    /// Bytes for the relay that it has not acknowledged.
    pub unacknowledged: u64,
}

/// How the number of stripes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// It has as many as it wants.
    Steady,
    /// Some are being started, or will be.
    Growing,
    /// Some are being closed.
    Shrinking,
}

impl Trend {
    /// Returns the name used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Growing => "growing",
            Self::Shrinking => "shrinking",
        }
    }
}

/// State of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StripeState {
    /// The answer of the relay is expected.
    Connecting,
    /// It carries data.
    Connected,
    /// The relay has stopped acknowledging on it.
    Silent,
    /// It is no longer needed.
    Closing,
}

impl StripeState {
    /// All states.
    pub const ALL: [Self; 4] = [
        Self::Connecting,
        Self::Connected,
        Self::Silent,
        Self::Closing,
    ];

    /// Returns the name used in reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Silent => "silent",
            Self::Closing => "closing",
        }
    }
}

/// The last failure of a stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeFailureReport {
    /// Name of its class.
    pub code: Printable,
    /// Error message.
    pub error: Printable,
    /// Suggested action; empty if there is none.
    pub hint: Printable,
    /// Seconds since it happened.
    pub seconds_ago: u64,
}

/// A stripe at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStripeReport {
    /// Its number within its bundle.
    pub id: u64,
    /// Id of its session.
    pub session: Option<Printable>,
    /// State.
    pub state: StripeState,
    /// Seconds since its stream was open.
    pub age_seconds: u64,
    /// Bytes sent on it to the relay.
    pub sent: u64,
    /// Bytes received on it from the relay.
    pub received: u64,
    /// Bytes per second sent on it, on average over the last seconds.
    pub sent_per_second: u64,
    /// Bytes per second received on it, on average over the last seconds.
    pub received_per_second: u64,
    /// Bytes per second that the relay has received on it at most in the last seconds, once it was
    /// measured.
    pub delivery_per_second: Option<u64>,
    /// Smoothed round trip between daemon and relay, in milliseconds, once it was measured.
    pub round_trip_ms: Option<u64>,
    /// Bytes for the relay that it has not acknowledged.
    pub unacknowledged: u64,
}
