//! The log of a life with virtual times, for a person who reads one life.

use std::fmt;

use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::TestWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock::virtual_time;

/// Prints the log of this thread, filtered by `SSM_PROXYD_LIVES_LOG`, until the guard is dropped.
pub(super) fn print() -> Option<DefaultGuard> {
    let filter = std::env::var_os("SSM_PROXYD_LIVES_LOG")?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter.into_string().ok()?))
        .with_timer(VirtualTime)
        .with_ansi(false)
        .with_writer(TestWriter::new())
        .finish();
    Some(set_default(subscriber))
}

struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:10.3}", virtual_time::elapsed().as_secs_f64())
    }
}
