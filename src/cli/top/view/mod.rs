//! The screen, drawn from the model. It fits into any size: what matters least is omitted first.

mod columns;
mod connections;
mod forwards;
mod help;
mod look;
mod rows;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Sparkline;

pub(crate) use self::look::Look;
use self::look::{DIM, SELECTED, TITLE};
use self::rows::Rows;
use super::model::{Model, Order, Page, Rate, SortKey};
use crate::quantity;
use crate::telemetry::{ForwardState, StatusReport};

/// Draws the model.
pub(crate) fn render(model: &Model, look: Look, now: Instant, area: Rect, buffer: &mut Buffer) {
    let mut rows = Rows::new(buffer, area, look);
    if let Some(asked) = &model.confirmation {
        let question = format!(
            "Close connection {} of {}? y: close, any other key: keep",
            asked.connection, asked.peer
        );
        rows.last_line(&question, SELECTED);
    } else if rows.free() > 3 {
        rows.last_line(&footer(model), DIM);
    }
    if let (Page::Connections(_), Some(event)) = (&model.page, model.events.newest().next())
        && now.saturating_duration_since(event.at) < NOTICE
        && rows.free() > 10
    {
        let style = if event.is_failure {
            look.failure()
        } else {
            DIM
        };
        rows.last_line(&event.text, style);
    }
    if model.shows_help {
        return help::render(&mut rows);
    }
    heading(model, now, &mut rows);
    match &model.page {
        Page::Forwards => forwards::render(model, now, &mut rows),
        Page::Connections(name) => connections::render(model, name, &mut rows),
    }
}

/// Draws the lines about the daemon.
fn heading(model: &Model, now: Instant, rows: &mut Rows<'_>) {
    let silent = now.saturating_duration_since(model.reported).as_secs();
    match &model.status {
        Some(status) => rows.text(&daemon(status, silent), TITLE),
        None if model.failure.is_none() => rows.text("connecting to the daemon", TITLE),
        None => rows.text("no daemon", TITLE),
    }
    let failure = rows.look.failure();
    match &model.failure {
        Some(problem) => {
            rows.text(&format!("{}; trying again", problem.error), failure);
            if !problem.hint.is_empty() {
                rows.text(&format!("hint: {}", problem.hint), Style::new());
            }
        }
        None if silent >= SILENT => {
            let text = format!(
                "the daemon has not responded for {}",
                quantity::time(silent)
            );
            rows.text(&text, failure);
        }
        None => {}
    }
    if model.status.is_some() {
        let totals = totals(model);
        rows.text(&totals, Style::new());
    }
}

fn daemon(status: &StatusReport, silent: u64) -> String {
    let state = match (status.stopping, silent >= SILENT) {
        (_, true) => "last seen running for",
        (true, false) => "stopping, up for",
        (false, false) => "running for",
    };
    format!(
        "ssm-proxyd {}, process {}, {state} {}",
        status.version,
        status.pid,
        quantity::time(status.uptime_seconds)
    )
}

fn totals(model: &Model) -> String {
    let rows = model.forwards();
    let failing = rows
        .iter()
        .filter(|(forward, _)| forward.state == ForwardState::Failing)
        .count();
    let waiting: usize = rows.iter().map(|(forward, _)| forward.waiting).sum();
    let open = model.status.as_ref().map_or(0, |status| status.connections);
    let rate = model.total_rate();
    let failing = match failing {
        0 => String::new(),
        failing => format!(" ({failing} failing)"),
    };
    let waiting = match waiting {
        0 => String::new(),
        waiting => format!(", {waiting} waiting"),
    };
    format!(
        "{}{failing}, {open} open{waiting}, sent {}, received {}",
        counted(rows.len() as u64, "forward"),
        quantity::rate(rate.sent),
        quantity::rate(rate.received)
    )
}

fn footer(model: &Model) -> String {
    match &model.page {
        _ if model.shows_help => "any key: back".to_owned(),
        Page::Forwards => format!(
            "q quit  ? help  Enter connections  s sort: {}  r reverse",
            order(model.forward_order)
        ),
        Page::Connections(_) => format!(
            "q quit  ? help  Esc back  x close  s sort: {}  r reverse",
            order(model.connection_order)
        ),
    }
}

fn order<K: SortKey>(order: Order<K>) -> String {
    let reversed = if order.is_reversed { ", reversed" } else { "" };
    format!("{}{reversed}", order.key.name())
}

/// Selects a direction, or both together.
type Direction = fn(Rate) -> u64;

/// Returns a sparkline of rates.
fn sparkline(
    periods: &[Option<Rate>],
    which: Direction,
    look: Look,
    style: Style,
) -> Sparkline<'static> {
    let values: Vec<Option<u64>> = periods.iter().map(|one| one.map(which)).collect();
    // A rate above 0 is visible beside the largest one.
    let max = values.iter().flatten().max().copied().unwrap_or_default();
    let visible = max.div_ceil(8);
    let raised = |value: u64| if value > 0 { value.max(visible) } else { 0 };
    let values: Vec<Option<u64>> = values.iter().map(|one| one.map(raised)).collect();
    Sparkline::default()
        .data(values)
        .max(max.max(1))
        .bar_set(look.bars())
        .style(style)
}

/// Returns a number and what it counts.
fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// Returns a rate, or a dash if it is unknown.
fn rate(rate: Option<u64>) -> String {
    rate.map_or_else(|| "-".to_owned(), quantity::rate)
}

/// Time for which the last event is shown on the page of a forward.
const NOTICE: Duration = Duration::from_secs(15);

/// Seconds without a report after which the screen says so.
const SILENT: u64 = 3;
