//! Reports for unit tests.

use serde_json::json;

use crate::telemetry::{ForwardDetail, StatusReport};

/// Three forwards: one that is ready, one that fails, one that is disabled.
pub(super) fn status() -> StatusReport {
    let mut status: StatusReport = serde_json::from_value(json!({
        "version": "1.2.3",
        "pid": 4711,
        "uptime_seconds": 7500,
        "stopping": false,
        "alive": true,
        "reloads": 0,
        "failed_reloads": 0,
        "log": "info",
        "connections": 2,
        "forwards": [],
        "finishing": []
    }))
    .unwrap();
    for (name, state, connections) in [
        ("orders-db", "ready", 2),
        ("broken", "failing", 0),
        ("off", "disabled", 0),
    ] {
        let failure = json!({
            "code": "TargetNotConnected",
            "error": "i-0123456789abcdef0 is not connected",
            "hint": "start the instance, or its agent",
            "since_seconds": 90,
            "seen_seconds": 7
        });
        let forward = serde_json::from_value(json!({
            "name": name,
            "listen": ["127.0.0.1:5432", "[::1]:5432"],
            "target": "i-0123456789abcdef0",
            "remote": "orders.internal:5432",
            "state": state,
            "state_seconds": 200,
            "connections": connections,
            "waiting": 0,
            "accepted": 12,
            "sent": 0,
            "received": 0,
            "sessions": connections,
            "sessions_ready": 0,
            "sessions_started": 3,
            "sessions_failed": 0,
            "resumes": 1,
            "failure": if state == "failing" { failure } else { json!(null) }
        }));
        status.forwards.push(forward.unwrap());
    }
    status
}

/// A forward of [`status`] with two connections.
pub(super) fn detail(name: &str) -> ForwardDetail {
    let status = status();
    let forward = status.forwards.iter().find(|forward| forward.name == *name);
    let session = |id: &str, round_trip: u64| {
        json!({
            "id": id,
            "node": "i-0123456789abcdef0",
            "state": "ready",
            "connections": 1,
            "age_seconds": 100,
            "agent_version": "3.3.0.0",
            "round_trip_ms": round_trip,
            "resumes": 0
        })
    };
    let connection = |id: u64, peer: &str, session: Option<&str>| {
        json!({
            "id": id,
            "peer": peer,
            "age_seconds": id * 10,
            "phase": if session.is_some() { "open" } else { "session_ready" },
            "sent": id * 1000,
            "received": id << 20,
            "session": session
        })
    };
    serde_json::from_value(json!({
        "forward": forward.unwrap(),
        "sessions_total": 1,
        "sessions": [session("user-1", 23)],
        "connections_total": 2,
        "connections": [
            connection(7, "127.0.0.1:50000", Some("user-1")),
            connection(9, "漢字\u{1b}[2J (pid 77)", None)
        ]
    }))
    .unwrap()
}
