//! The page of one forward: its state, its rates and its connections.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::columns::{Column, head, line, place, width};
use super::forwards::{MARK, destination, marked};
use super::look::{DIM, SELECTED, TITLE};
use super::rows::{Rows, first_visible};
use super::{Direction, counted, rate, sparkline};
use crate::cli::relay_lines;
use crate::cli::top::model::{ConnectionKey, Model, RateHistory};
use crate::printable::Printable;
use crate::quantity;
use crate::telemetry::{
    ConnectionReport, ForwardDetail, ForwardRelayReport, ForwardReport, SessionReport,
};

/// Draws the page.
pub(super) fn render(model: &Model, name: &Printable, rows: &mut Rows<'_>) {
    let forwards = model.forwards();
    if let Some((forward, history)) = forwards.iter().find(|(known, _)| known.name == *name) {
        let is_low = rows.free() < LOW;
        about(forward, is_low, rows);
        if let Some(history) = history {
            rates(history, is_low, rows);
        }
    }
    match &model.detail {
        Some(detail) => list(model, detail, rows),
        None => rows.text("waiting for the list of connections", Style::new()),
    }
}

/// Draws the settings and the state of the forward.
fn about(forward: &ForwardReport, is_low: bool, rows: &mut Rows<'_>) {
    let state = rows.look.state(forward.state);
    let expiry = forward
        .credentials
        .as_ref()
        .and_then(|own| own.expires_seconds);
    let expiry = match expiry {
        None => String::new(),
        Some(0) => ", credentials expired".to_owned(),
        Some(left) => format!(", credentials expire in {}", quantity::time(left)),
    };
    rows.line(Line::from(vec![
        Span::styled(format!("{} ", forward.name), TITLE),
        Span::styled(
            format!(
                "{} for {}",
                forward.state.as_str(),
                quantity::time(forward.state_seconds)
            ),
            state,
        ),
        format!(
            ", {} open, {} waiting, {}, {}{expiry}",
            forward.connections,
            forward.waiting,
            counted(forward.sessions as u64, "session"),
            counted(forward.resumes, "resume")
        )
        .into(),
    ]));
    let arrow = rows.look.arrow();
    let listen = forward.listen.join(", ");
    rows.text(
        &format!("{listen} {arrow} {}", destination(forward)),
        Style::new(),
    );
    if let Some(relay) = &forward.relay {
        about_relay(relay, is_low, rows);
    }
    let Some(failure) = &forward.failure else {
        return;
    };
    let hint = match failure.hint.as_str() {
        "" => String::new(),
        hint => format!("\nhint: {hint}"),
    };
    let text = format!(
        "failing for {}, last {} ago: [{}] {}{hint}",
        quantity::time(failure.since_seconds),
        quantity::time(failure.seen_seconds),
        failure.code,
        failure.error
    );
    let area = rows.take(if is_low { 1 } else { 4 });
    let style = rows.look.failure();
    let wrapped = Paragraph::new(text).wrap(Wrap { trim: true }).style(style);
    rows.draw(wrapped, area);
}

/// Draws the state of its relay.
fn about_relay(relay: &ForwardRelayReport, is_low: bool, rows: &mut Rows<'_>) {
    rows.text(&relay_lines::relay(relay), Style::new());
    if is_low {
        return;
    }
    if let Some(bundle) = &relay.bundle {
        rows.text(&relay_lines::traffic(bundle), Style::new());
    }
    if let Some(failure) = &relay.last_failure {
        rows.text(&relay_lines::failure(failure), DIM);
    }
}

/// Draws the rates of both directions.
fn rates(history: &RateHistory, is_low: bool, rows: &mut Rows<'_>) {
    let current = history.current();
    let directions: [(&str, Direction); 2] = [
        ("sent", |rate| rate.sent),
        ("received", |rate| rate.received),
    ];
    for (name, which) in directions {
        let area = rows.take(if is_low { 1 } else { 2 });
        let label = format!("{name:<8} {:>12} ", rate(current.map(which)));
        let bars_width = rows.width().saturating_sub(label.len());
        rows.draw(Line::from(label.clone()), area);
        let periods = history.periods(BAR_SECONDS, bars_width);
        let rates = periods.iter().flatten().copied().chain(current);
        let largest = rates.map(which).max();
        if area.height > 1 {
            let below = Rect {
                y: area.y + 1,
                height: 1,
                ..area
            };
            rows.draw(Line::from(format!("{:>21} ", max_label(largest))), below);
        }
        let Ok(x) = u16::try_from(label.len()) else {
            continue;
        };
        let bars = Rect {
            x: area.x.saturating_add(x),
            width: area.width.saturating_sub(x),
            ..area
        };
        let style = rows.look.sparkline();
        let look = rows.look;
        rows.draw(sparkline(&periods, which, look, style), bars);
    }
}

fn max_label(largest: Option<u64>) -> String {
    largest.map_or_else(String::new, |largest| {
        format!("max {}", quantity::rate(largest))
    })
}

/// A connection and its session.
type Row<'a> = (&'a ConnectionReport, Option<&'a SessionReport>);

fn list(model: &Model, detail: &ForwardDetail, rows: &mut Rows<'_>) {
    let session = |one: &ConnectionReport| {
        let mut sessions = detail.sessions.iter();
        sessions.find(|session| Some(&session.id) == one.session.as_ref())
    };
    let connections = model.connections();
    let all: Vec<Row<'_>> = connections.iter().map(|one| (*one, session(one))).collect();
    let (total, listed) = (detail.connections_total, all.len());
    if rows.free() > 2 {
        let text = match listed < total {
            true => format!("{total} connections, the oldest {listed}"),
            false => counted(total as u64, "connection"),
        };
        rows.text(&text, Style::new());
    }
    let placed = place(&columns(&all), rows.width().saturating_sub(MARK));
    let ellipsis = rows.look.ellipsis();
    let sorted = sorted_column(model.connection_order.key);
    let head = head(&placed, Some(sorted), ellipsis);
    rows.line(marked(" ", head));
    let (height, selected) = (rows.free(), model.connection_index());
    let first = first_visible(selected, all.len(), height);
    for (index, row) in all.iter().enumerate().skip(first).take(height) {
        let is_selected = index == selected;
        let mark = if is_selected { rows.look.mark() } else { " " };
        let style = if is_selected { SELECTED } else { Style::new() };
        let cells = line(&placed, |kind| (cell(kind, row), Style::new()), ellipsis);
        rows.line(marked(mark, cells).style(style));
    }
}

fn cell(kind: Kind, (connection, session): &Row<'_>) -> String {
    let unknown = || "-".to_owned();
    match kind {
        Kind::Id => connection.id.to_string(),
        Kind::Peer => connection.peer.to_string(),
        Kind::State => connection.phase.to_string(),
        Kind::Age => quantity::time(connection.age_seconds),
        Kind::Sent => quantity::size(connection.sent),
        Kind::Received => quantity::size(connection.received),
        Kind::RoundTrip => {
            let times = session.map(|session| session.round_trip_ms);
            times.map_or_else(unknown, quantity::milliseconds)
        }
        Kind::Node => session.map_or_else(unknown, |session| session.node.to_string()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Id,
    Peer,
    State,
    Age,
    Sent,
    Received,
    RoundTrip,
    Node,
}

fn sorted_column(key: ConnectionKey) -> Kind {
    match key {
        ConnectionKey::Id => Kind::Id,
        ConnectionKey::Peer => Kind::Peer,
        ConnectionKey::State => Kind::State,
        ConnectionKey::Sent => Kind::Sent,
        ConnectionKey::Received => Kind::Received,
    }
}

fn columns(rows: &[Row<'_>]) -> [Column<Kind>; 8] {
    let longest = |kind: Kind, title: &str| {
        let widths = rows.iter().map(|row| width(&cell(kind, row)));
        widths.max().unwrap_or(0).max(title.len())
    };
    let column = |kind, title: &'static str, min: usize, is_number, priority| {
        let max = longest(kind, title);
        Column {
            kind,
            title,
            min: min.min(max),
            max,
            is_number,
            priority,
        }
    };
    [
        column(Kind::Id, "ID", 5, true, 0),
        column(Kind::Peer, "PEER", 15, false, 1),
        column(Kind::State, "STATE", 9, false, 7),
        column(Kind::Age, "AGE", 7, true, 4),
        column(Kind::Sent, "SENT", 10, true, 2),
        column(Kind::Received, "RECEIVED", 10, true, 3),
        column(Kind::RoundTrip, "RTT", 7, true, 6),
        column(Kind::Node, "NODE", 10, false, 5),
    ]
}

/// Height below which rows are saved.
const LOW: usize = 16;

/// Time that the bars show, in seconds.
const BAR_SECONDS: usize = 300;
