//! The list of forwards, and the last events.

use std::time::Instant;

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::columns::{Column, Placed, head, line, place, width};
use super::look::{DIM, SELECTED, TITLE};
use super::rows::{Rows, first_visible};
use super::{rate, sparkline};
use crate::cli::top::model::{ForwardKey, Model, Rate, RateHistory};
use crate::quantity;
use crate::telemetry::ForwardReport;

/// Draws the list, and the events if there is space.
pub(super) fn render(model: &Model, now: Instant, rows: &mut Rows<'_>) {
    let forwards = model.forwards();
    if model.status.is_some() {
        let events = rows.free().saturating_sub(forwards.len() + 2);
        let events = events.clamp(MIN_EVENTS, MAX_EVENTS).min(rows.free() / 3);
        let height = rows.free() - events;
        list(model, &forwards, height, rows);
    }
    last_events(model, now, rows);
}

type Row<'a> = (&'a ForwardReport, Option<&'a RateHistory>);

/// Draws the list into at most `height` rows.
fn list(model: &Model, forwards: &[Row<'_>], height: usize, rows: &mut Rows<'_>) {
    let placed = place(&columns(forwards), rows.width().saturating_sub(MARK));
    let sorted = sorted_column(model.forward_order.key);
    let head = head(&placed, sorted, rows.look.ellipsis());
    rows.line(marked(" ", head));
    let height = height.saturating_sub(1).min(rows.free());
    let selected = model.forward_index();
    let first = first_visible(selected, forwards.len(), height);
    for (index, row) in forwards.iter().enumerate().skip(first).take(height) {
        draw(&placed, row, index == selected, rows);
    }
}

fn draw(placed: &[Placed<Kind>], row: &Row<'_>, is_selected: bool, rows: &mut Rows<'_>) {
    let look = rows.look;
    let cells = line(placed, |kind| cell(kind, row, rows), look.ellipsis());
    let mark = if is_selected { look.mark() } else { " " };
    let style = if is_selected { SELECTED } else { Style::new() };
    let area = rows.take(1);
    rows.draw(marked(mark, cells).style(style), area);
    let bars = placed.iter().find(|one| one.column.kind == Kind::Bars);
    if let (Some(bars), Some(history)) = (bars, row.1) {
        let (Ok(x), Ok(width)) = (u16::try_from(bars.x + MARK), u16::try_from(bars.width)) else {
            return;
        };
        let area = Rect {
            x: area.x + x,
            width,
            ..area
        };
        let periods = history.periods(BAR_SECONDS, bars.width);
        let style = look.sparkline().patch(style);
        let both = |rate: Rate| rate.sent.saturating_add(rate.received);
        rows.draw(sparkline(&periods, both, look, style), area);
    }
}

fn cell(kind: Kind, (forward, history): &Row<'_>, rows: &Rows<'_>) -> (String, Style) {
    let current = history.and_then(RateHistory::current);
    let plain = |text: String| (text, Style::new());
    match kind {
        Kind::Name => plain(forward.name.to_string()),
        Kind::State => {
            let time = quantity::time(forward.state_seconds);
            let text = format!("{} {time}", forward.state.as_str());
            (text, rows.look.state(forward.state))
        }
        Kind::Open => plain(forward.connections.to_string()),
        Kind::Waiting => plain(forward.waiting.to_string()),
        Kind::Sent => plain(rate(current.map(|rate| rate.sent))),
        Kind::Received => plain(rate(current.map(|rate| rate.received))),
        Kind::Bars => plain(String::new()),
        Kind::Destination => plain(destination(forward)),
    }
}

/// Returns the destination of a forward.
pub(super) fn destination(forward: &ForwardReport) -> String {
    let remote = match &forward.destination {
        Some(actual) => format!("{} (leads to {actual})", forward.remote),
        None => forward.remote.to_string(),
    };
    let relay = forward.relay.as_ref();
    let relay = relay.map(|relay| format!(", relay {}", relay.port));
    format!(
        "{remote} via {}{}",
        forward.target,
        relay.unwrap_or_default()
    )
}

/// Returns a line after the mark of the selected row.
pub(super) fn marked(mark: &str, mut line: Line<'static>) -> Line<'static> {
    line.spans.insert(0, format!("{mark} ").into());
    line
}

fn last_events(model: &Model, now: Instant, rows: &mut Rows<'_>) {
    if rows.free() < 2 {
        return;
    }
    rows.text("EVENTS", TITLE);
    let failure = rows.look.failure();
    for event in model.events.newest().take(rows.free()) {
        let age = now.saturating_duration_since(event.at).as_secs();
        let style = if event.is_failure { failure } else { DIM };
        let age = quantity::time(age);
        rows.text(&format!("  {age:>8} ago  {}", event.text), style);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Name,
    State,
    Open,
    Waiting,
    Sent,
    Received,
    Bars,
    Destination,
}

fn sorted_column(key: ForwardKey) -> Option<Kind> {
    match key {
        ForwardKey::Configuration => None,
        ForwardKey::Name => Some(Kind::Name),
        ForwardKey::State => Some(Kind::State),
        ForwardKey::Open => Some(Kind::Open),
        ForwardKey::Sent => Some(Kind::Sent),
        ForwardKey::Received => Some(Kind::Received),
    }
}

fn columns(forwards: &[Row<'_>]) -> [Column<Kind>; 8] {
    let longest = |text: &dyn Fn(&ForwardReport) -> String, title: &str| {
        let widths = forwards.iter().map(|(row, _)| width(&text(row)));
        widths.max().unwrap_or(0).max(title.len())
    };
    let name = longest(&|row| row.name.to_string(), "FORWARD").min(40);
    let to = longest(&destination, "DESTINATION");
    [
        column(Kind::Name, "FORWARD", name.min(14), name, 0),
        column(Kind::State, "STATE", 15, 15, 1),
        number(Kind::Open, "OPEN", 5, 2),
        number(Kind::Waiting, "WAITING", 7, 6),
        number(Kind::Sent, "SENT", 12, 4),
        number(Kind::Received, "RECEIVED", 12, 3),
        column(Kind::Bars, "2 MINUTES", 6, 40, 5),
        column(Kind::Destination, "DESTINATION", 16, to, 7),
    ]
}

fn column<K>(kind: K, title: &'static str, min: usize, max: usize, priority: u8) -> Column<K> {
    Column {
        kind,
        title,
        min,
        max,
        is_number: false,
        priority,
    }
}

fn number<K>(kind: K, title: &'static str, width: usize, priority: u8) -> Column<K> {
    Column {
        is_number: true,
        ..column(kind, title, width, width, priority)
    }
}

/// Cells of the mark and the blank after it.
pub(super) const MARK: usize = 2;

/// Time that the bars show, in seconds.
const BAR_SECONDS: usize = 120;

/// Rows of the events with their title.
const MIN_EVENTS: usize = 4;
const MAX_EVENTS: usize = 12;
