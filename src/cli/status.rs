//! `status`: forwards of a running daemon, with state and counters.

use std::time::Duration;

use clap::Args;

use super::control::{DaemonAddress, ask, sent, unexpected_response};
use super::exit::Exit;
use super::{stdout, terminal};
use crate::daemon::{Request, Response};
use crate::duration;
use crate::telemetry::{ForwardReport, StatusReport};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonAddress,
}

/// Prints the status of the daemon.
pub(super) async fn status(args: StatusArgs) -> Exit {
    let report = match ask(&args.daemon, &Request::Status).await {
        Ok(Response::Status(report)) => report,
        Ok(other) => return unexpected_response(&other),
        Err(exit) => return exit,
    };
    if !args.json {
        return sent(stdout::print_text(&summary(&report)));
    }
    match serde_json::to_string(&*report) {
        Ok(json) => sent(stdout::print_json(json)),
        Err(error) => terminal::fail(Exit::Failed, &error, ""),
    }
}

fn summary(report: &StatusReport) -> String {
    let mut text = format!(
        "ssm-proxyd {}, process {}, {} for {}\n",
        report.version,
        report.pid,
        if report.stopping {
            "stopping, up"
        } else {
            "running"
        },
        time(report.uptime_seconds)
    );
    if report.reloads + report.failed_reloads > 0 {
        let (done, failed) = (report.reloads, report.failed_reloads);
        text += &format!("reloads: {done} done, {failed} failed\n");
    }
    if report.log_lines_dropped > 0 {
        let dropped = report.log_lines_dropped;
        text += &format!("log: {dropped} lines dropped because the reader was too slow\n");
    }
    text += "\n";
    text += &table(&report.forwards.iter().map(row).collect::<Vec<_>>());
    for forward in &report.forwards {
        text += &failure(forward);
    }
    for failing in &report.failing_servers {
        let what = format!("{}; retrying", failing.error);
        let (what, hint) = terminal::tagged(&what, &failing.hint, &failing.code);
        text += &format!("\n{what}\n{}", hint_line(&hint));
    }
    for finishing in &report.finishing {
        let (name, connections) = (&finishing.name, finishing.connections);
        let plural = if connections == 1 { "" } else { "s" };
        text += &format!("{name}, before a reload: {connections} connection{plural} still open\n");
    }
    text
}

fn row(forward: &ForwardReport) -> Vec<String> {
    vec![
        forward.name.to_string(),
        forward.state.as_str().to_owned(),
        forward.connections.to_string(),
        forward.waiting.to_string(),
        forward.sessions.to_string(),
        forward.listen.join(", "),
        match &forward.destination {
            Some(actual) => {
                format!(
                    "{} (leads to {actual}) via {}",
                    forward.remote, forward.target
                )
            }
            None => format!("{} via {}", forward.remote, forward.target),
        },
    ]
}

fn failure(forward: &ForwardReport) -> String {
    let Some(failure) = &forward.failure else {
        return String::new();
    };
    let (error, hint) = terminal::tagged(&failure.error, &failure.hint, &failure.code);
    format!(
        "\n{} has been failing for {}, last failure {} ago: {error}\n{}",
        forward.name,
        time(failure.since_seconds),
        time(failure.seen_seconds),
        hint_line(&hint),
    )
}

fn hint_line(hint: &str) -> String {
    match hint {
        "" => String::new(),
        hint => format!("  hint: {hint}\n"),
    }
}

/// Aligns columns to their widest cell; the last column is not padded.
fn table(rows: &[Vec<String>]) -> String {
    let head = HEAD.iter().map(ToString::to_string).collect();
    let rows: Vec<&Vec<String>> = [&head].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).map(|c| width(c).unwrap_or(0)).collect();
    let line = |row: &&Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (cell, width))| match NUMBERS.contains(&column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            })
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn time(seconds: u64) -> String {
    duration::written(Duration::from_secs(seconds))
}

const HEAD: [&str; 7] = [
    "FORWARD",
    "STATE",
    "OPEN",
    "WAITING",
    "SESSIONS",
    "LISTEN",
    "DESTINATION",
];

/// Columns with numbers.
const NUMBERS: std::ops::RangeInclusive<usize> = 2..=4;
