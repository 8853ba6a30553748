//! Log, records of connections, per-forward metrics, and the status report of a running daemon.

mod connection;
mod forward_detail;
mod log;
mod metrics;
mod relay_report;
mod status;
mod timings;
mod totals;

pub use self::connection::{ConnectionRecord, EndReason, Party, Phase, Stage, StageTimes};
pub use self::forward_detail::{ConnectionReport, ForwardDetail, SessionReport};
pub use self::log::{FilterError, Format, Log, LogError, LogHandle, Verbosity};
pub use self::log::{dropped_log_lines, flush_log, write_to_stderr};
pub use self::metrics::{Count, FailureStatus, ForwardMetrics};
pub use self::relay_report::{
    ForwardBundleReport, ForwardRelayReport, ForwardStripeReport, StripeFailureReport, StripeState,
    Trend,
};
pub use self::status::{
    CredentialsReport, DrainingForward, FailingServer, FailureReport, ForwardReport, ForwardState,
    Listening, StatusReport,
};
pub use self::timings::Timings;
pub use self::totals::ForwardTotals;
