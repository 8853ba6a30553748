//! Text of `status NAME`: one forward, its sessions and its connections.

use super::text::{forwards, identity, table};
use crate::quantity::{milliseconds, size, time};
use crate::telemetry::{ConnectionReport, ForwardDetail, SessionReport};

/// Returns the text for one forward.
pub(super) fn detail(detail: &ForwardDetail) -> String {
    let mut text = forwards(&[&detail.forward]);
    if let Some(own) = &detail.forward.credentials {
        text += &format!("\ncredentials: {}\n", identity(own));
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
