//! What can be seen from outside: lines of the log, the meters of a forward, and the report that a
//! running daemon gives of itself.

mod log;
mod metrics;
mod status;

pub use self::log::{Control, FilterError, Format, Log, LogError, Verbosity};
pub use self::log::{dropped_log_lines, flush_log, write_to_stderr};
pub use self::metrics::{Count, ForwardMetrics, Trouble};
pub use self::status::{
    FailingServer, Finishing, ForwardReport, ForwardState, Listening, Report, TroubleReport,
};
