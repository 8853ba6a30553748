//! Formats a snapshot for Prometheus.
//!
//! ```text
//!   Snapshot ─▶ tables of families ─▶ prometheus-client ─▶ OpenMetrics 1.0.0, or text 0.0.4
//! ```
//!
//! Label values are names of configured forwards, members of enums, and constants of this program,
//! so their number is bounded. The counters of a forward continue when a reload changes it, and its
//! gauges include the connections and sessions of its predecessors. A family reads the forwards of
//! the snapshot, so the series of a removed forward end with its last connection.

mod bundle_families;
mod daemon_families;
mod family;
mod format;
mod forward_families;
mod process;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

pub(super) use self::format::Format;
pub(super) use self::process::ProcessStats;
use crate::daemon::snapshot::Snapshot;

/// Returns all metrics. `process` is `None` if the system does not provide them.
pub(super) fn render(snapshot: Snapshot, process: Option<ProcessStats>, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { snapshot, process }));
    let mut text = String::new();
    let written = match format {
        Format::OpenMetrics => text::encode(&mut text, &registry),
        Format::Text => prometheus_text::encode(&mut text, &registry),
    };
    written.expect("writing to a String does not fail");
    text
}

#[derive(Debug)]
struct Page {
    snapshot: Snapshot,
    process: Option<ProcessStats>,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self { snapshot, process } = self;
        for family in daemon_families::ALL {
            family.encode(&mut encoder, snapshot)?;
        }
        for family in forward_families::ALL {
            family.encode(&mut encoder, snapshot)?;
        }
        for family in bundle_families::ALL {
            family.encode(&mut encoder, snapshot)?;
        }
        let Some(process) = process else {
            return Ok(());
        };
        for family in process::ALL {
            family.encode(&mut encoder, process)?;
        }
        Ok(())
    }
}
