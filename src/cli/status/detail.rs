//! Text of `status NAME`: one forward, the stripes to its relay, its sessions and its connections.

use super::text::{forwards, hint_line, identity, table};
use crate::cli::relay_lines;
use crate::quantity::{milliseconds, rate, size, time};
use crate::telemetry::{
    ConnectionReport, ForwardDetail, ForwardRelayReport, ForwardStripeReport, SessionReport,
};

/// Returns the text for one forward.
pub(super) fn detail(detail: &ForwardDetail) -> String {
    let mut text = forwards(&[&detail.forward]);
    if let Some(own) = &detail.forward.credentials {
        text += &format!("\ncredentials: {}\n", identity(own));
    }
    if let Some(relay) = &detail.forward.relay {
        text += &about(relay);
    }
    if !detail.stripes.is_empty() {
        text += &heading("stripe", detail.stripes.len(), detail.stripes.len());
        let rows: Vec<Vec<String>> = detail.stripes.iter().map(stripe).collect();
        text += &table(&STRIPE, STRIPE_NUMBERS, &rows);
    }
    text += &heading("session", detail.sessions_total, detail.sessions.len());
    if !detail.sessions.is_empty() {
        let rows: Vec<Vec<String>> = detail.sessions.iter().map(session).collect();
        text += &table(&SESSION, SESSION_NUMBERS, &rows);
    }
    let (total, listed) = (detail.connections_total, detail.connections.len());
    text += &heading("connection", total, listed);
    if !detail.connections.is_empty() {
        let rows: Vec<Vec<String>> = detail.connections.iter().map(connection).collect();
        text += &table(&CONNECTION, CONNECTION_NUMBERS, &rows);
    }
    text
}

fn heading(what: &str, total: usize, listed: usize) -> String {
    let plural = if total == 1 { "" } else { "s" };
    match listed < total {
        true => format!("\n{total} {what}{plural}, the oldest {listed}:\n"),
        false => format!("\n{total} {what}{plural}\n"),
    }
}

/// Returns what the line about the relay leaves out.
fn about(relay: &ForwardRelayReport) -> String {
    let traffic = relay.bundle.as_ref().map(relay_lines::traffic);
    let failure = relay.last_failure.as_ref();
    let lines = [
        traffic.map(|line| format!("{line}\n")),
        failure.map(|failure| {
            let hint = hint_line(&failure.hint);
            format!("{}\n{hint}", relay_lines::failure(failure))
        }),
    ];
    lines.into_iter().flatten().collect()
}

fn stripe(stripe: &ForwardStripeReport) -> Vec<String> {
    let session = stripe.session.as_ref();
    vec![
        stripe.id.to_string(),
        stripe.state.as_str().to_owned(),
        time(stripe.age_seconds),
        rate(stripe.sent_per_second),
        rate(stripe.received_per_second),
        relay_lines::measured(stripe.delivery_per_second, rate),
        relay_lines::measured(stripe.round_trip_ms, milliseconds),
        size(stripe.unacknowledged),
        session.map_or_else(|| "-".to_owned(), ToString::to_string),
    ]
}

fn session(session: &SessionReport) -> Vec<String> {
    let agent = session.agent_version.as_ref();
    vec![
        session.id.to_string(),
        session.state.to_string(),
        session.connections.to_string(),
        time(session.age_seconds),
        milliseconds(session.round_trip_ms),
        session.resumes.to_string(),
        agent.map_or_else(|| "-".to_owned(), ToString::to_string),
        session.node.to_string(),
    ]
}

fn connection(connection: &ConnectionReport) -> Vec<String> {
    let session = connection.session.as_ref();
    vec![
        connection.id.to_string(),
        connection.phase.to_string(),
        time(connection.age_seconds),
        size(connection.sent),
        size(connection.received),
        connection.peer.to_string(),
        session.map_or_else(|| "-".to_owned(), ToString::to_string),
    ]
}

const STRIPE: [&str; 9] = [
    "STRIPE",
    "STATE",
    "AGE",
    "SENT",
    "RECEIVED",
    "CAPACITY",
    "ROUND TRIP",
    "UNACKNOWLEDGED",
    "SESSION",
];
const STRIPE_NUMBERS: &[usize] = &[0, 2, 3, 4, 5, 6, 7];

const SESSION: [&str; 8] = [
    "SESSION",
    "STATE",
    "CONNECTIONS",
    "AGE",
    "ROUND TRIP",
    "RESUMES",
    "AGENT",
    "NODE",
];
const SESSION_NUMBERS: &[usize] = &[2, 3, 4, 5];

const CONNECTION: [&str; 7] = ["ID", "STATE", "AGE", "SENT", "RECEIVED", "PEER", "SESSION"];
const CONNECTION_NUMBERS: &[usize] = &[0, 2, 3, 4];
