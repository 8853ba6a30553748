//! Status line on a terminal: open connections and transferred bytes.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::sleep;

use super::progress::CLEAR;
use super::terminal;
use crate::quantity::size;
use crate::session::unless_prompting;
use crate::telemetry::{ForwardMetrics, write_to_stderr};

/// Updates the line while stderr is a terminal. The cursor stays at its start, so that log lines
/// overwrite it.
pub(super) async fn watch(metrics: Vec<Arc<ForwardMetrics>>) -> Infallible {
    if !io::stderr().is_terminal() || terminal::is_dumb() {
        return std::future::pending().await;
    }
    let mut last = String::new();
    loop {
        let line = status_line(&metrics);
        if line != last {
            let draw = || write_to_stderr(&format!("{CLEAR}{line}\r"));
            // While a prompt is open, its line replaces this one.
            last = match unless_prompting(draw) {
                true => line,
                false => String::new(),
            };
        }
        sleep(REFRESH).await;
    }
}

pub(super) fn clear() {
    if io::stderr().is_terminal() && !terminal::is_dumb() {
        write_to_stderr(CLEAR);
    }
}

fn status_line(metrics: &[Arc<ForwardMetrics>]) -> String {
    let sum = |count: fn(&ForwardMetrics) -> u64| {
        metrics.iter().map(|metrics| count(metrics)).sum::<u64>()
    };
    let open = sum(|metrics| metrics.open.get() as u64);
    let waiting = sum(|metrics| metrics.waiting.get() as u64);
    let sent = size(sum(|metrics| metrics.totals.sent.load(Relaxed)));
    let received = size(sum(|metrics| metrics.totals.received.load(Relaxed)));
    let plural = if open == 1 { "" } else { "s" };
    let waiting = match waiting {
        0 => String::new(),
        waiting => format!(", {waiting} waiting"),
    };
    format!("{open} connection{plural}{waiting}, {sent} sent, {received} received")
}

const REFRESH: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_open_connections_and_transferred_bytes() {
        let metrics = Arc::new(ForwardMetrics::default());
        let _one = metrics.open.count();
        metrics.totals.sent.store(1023, Relaxed);
        metrics.totals.received.store(3 << 19, Relaxed);

        assert_eq!(
            status_line(&[Arc::clone(&metrics)]),
            "1 connection, 1023 B sent, 1.5 MiB received"
        );
        let _two = (metrics.open.count(), metrics.waiting.count());
        assert_eq!(
            status_line(&[Arc::clone(&metrics)]),
            "2 connections, 1 waiting, 1023 B sent, 1.5 MiB received"
        );
    }
}
