//! Detailed report of a forward, and closing of single connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::admin::{ErrorKind, Response, error_response};
use super::status::{ForwardInfo, ForwardSnapshot};
use crate::clock;
use crate::forward::{ConnectionInfo, ConnectionTable};
use crate::telemetry::{ConnectionReport, ForwardDetail, ForwardReport, SessionReport};
use crate::tunnel::{State, Tunnel};

impl ForwardSnapshot {
    /// Returns the sessions and connections of the forward of this report.
    pub(super) fn detail(&self, forward: ForwardReport) -> ForwardDetail {
        let of_name = self.all().filter(|info| forward.name == *info.name());
        let of_name: Vec<&Arc<ForwardInfo>> = of_name.collect();
        let now = clock::now();
        let stripes = of_name.iter().flat_map(|info| info.stripe_reports(now));
        let stripes = stripes.collect();
        let tables: Vec<&Arc<ConnectionTable>> = of_name
            .iter()
            .filter_map(|info| info.connections.as_ref())
            .collect();
        let max = ForwardDetail::MAX_LISTED;
        let mut detail = ForwardDetail {
            forward,
            sessions_total: 0,
            sessions: Vec::new(),
            stripes,
            connections_total: 0,
            connections: Vec::new(),
        };
        let mut used = BTreeMap::new();
        for table in &tables {
            let left = max.saturating_sub(detail.connections.len());
            let (connections, total) = table.list(left);
            detail.connections_total += total;
            for (session, count) in table.count_by_session() {
                *used.entry(session).or_default() += count;
            }
            detail
                .connections
                .extend(connections.into_iter().map(connection));
        }
        for table in &tables {
            let left = max.saturating_sub(detail.sessions.len());
            let (tunnels, total) = table.sessions().tunnels(left);
            detail.sessions_total += total;
            let connections = |tunnel: &Tunnel| used.get(tunnel.session_id()).copied();
            let sessions = tunnels
                .iter()
                .map(|tunnel| session(tunnel, connections(tunnel).unwrap_or(0)));
            detail.sessions.extend(sessions);
        }
        detail
    }

    /// Returns the number of connections whose client has not closed.
    pub(super) fn with_client(&self) -> usize {
        let tables = self.all().filter_map(|info| info.connections.as_ref());
        tables.map(|table| table.with_client()).sum()
    }

    /// Returns how many open connections a stop has reset.
    pub(super) fn reset_by_stop(&self) -> usize {
        let tables = self.all().filter_map(|info| info.connections.as_ref());
        tables.map(|table| table.reset_by_stop()).sum()
    }

    /// Resets a connection, and returns the response for the operator.
    pub(super) fn close(&self, id: u64) -> Response {
        let mut tables = self.all().filter_map(|info| info.connections.as_ref());
        match tables.any(|table| table.close(id)) {
            true => Response::Closed { connection: id },
            false => error_response(
                ErrorKind::Request,
                format!("there is no connection {id}"),
                "`ssm-proxyd status NAME` lists the connections of a forward",
            ),
        }
    }
}

fn connection(info: ConnectionInfo) -> ConnectionReport {
    let ConnectionInfo {
        id,
        peer,
        age,
        phase,
        sent,
        received,
        session,
        destination,
    } = info;
    ConnectionReport {
        id,
        peer,
        age_seconds: age.as_secs(),
        phase: phase.name().into(),
        sent,
        received,
        session,
        destination,
    }
}

fn session(tunnel: &Tunnel, connections: usize) -> SessionReport {
    let state = match tunnel.state() {
        State::Opening => "opening",
        State::Ready => "ready",
        State::Disconnected => "disconnected",
        State::Ended => "ended",
    };
    SessionReport {
        id: tunnel.session_id().into(),
        node: tunnel.node().into(),
        state: state.into(),
        connections,
        age_seconds: clock::since(tunnel.started()).as_secs(),
        agent_version: tunnel.agent_version(),
        round_trip_ms: u64::try_from(tunnel.rtt().as_millis()).unwrap_or(u64::MAX),
        resumes: tunnel.resumes(),
    }
}
