//! Routes of the HTTP server: paths, status codes and response bodies.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};

use super::host::HostError;
use super::prometheus::{self, Format, ProcessStats};
use crate::daemon::snapshot::Snapshot;
use crate::telemetry::{ForwardReport, ForwardState, StatusReport};

pub(super) type Response = hyper::Response<Full<Bytes>>;

/// A page of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Startup,
    Readiness,
    /// Of the forward of this name.
    ForwardReadiness(String),
    Liveness,
    Metrics,
    Status,
}

/// A page that shows the state of the daemon.
#[derive(Debug)]
pub(super) enum Page {
    Readiness,
    ForwardReadiness(String),
    Liveness,
    Metrics(Format, Option<ProcessStats>),
    Status,
}

/// The reason why a request has no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteError {
    /// The path is unknown.
    Unknown,
    /// The method is neither GET nor HEAD.
    ReadOnly,
}

/// Returns the page for a method and path.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, RouteError> {
    let fixed = ROUTES.iter().find(|(known, _)| *known == path);
    let fixed = fixed.map(|(_, page)| page.clone());
    let page = fixed.or_else(|| forward_readiness(path));
    match page {
        None => Err(RouteError::Unknown),
        Some(page) if [Method::GET, Method::HEAD].contains(method) => Ok(page),
        Some(_) => Err(RouteError::ReadOnly),
    }
}

fn forward_readiness(path: &str) -> Option<Route> {
    let name = path.strip_prefix(FORWARD_READINESS)?;
    let is_one_segment = !name.is_empty() && !name.contains('/');
    is_one_segment.then(|| Route::ForwardReadiness(name.to_owned()))
}

/// Returns the response for a request without a page.
pub(super) fn render_error(error: RouteError) -> Response {
    if error == RouteError::Unknown {
        let paths: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
        let paths = paths.join(", ");
        let text = format!("unknown path; known paths: {paths}, {FORWARD_READINESS}NAME\n");
        return plain(StatusCode::NOT_FOUND, text);
    }
    let text = "method not allowed; use GET or HEAD\n";
    let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    let allowed = HeaderValue::from_static("GET, HEAD");
    refused.headers_mut().insert(ALLOW, allowed);
    refused
}

/// Returns the response for a request with an invalid or unknown host.
pub(super) fn misdirected(error: HostError) -> Response {
    match error {
        HostError::Malformed => plain(
            StatusCode::BAD_REQUEST,
            "the request needs one well-formed Host header\n",
        ),
        HostError::Misdirected => plain(
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not served; use an address or localhost, or add the name to `hosts` in [http]\n",
        ),
    }
}

/// Returns the response of `/startup`. The server starts only after everything is bound.
pub(super) fn startup() -> Response {
    plain(StatusCode::OK, "started\n")
}

/// Returns the response for requests pending when the daemon ends or the server closes.
pub(super) fn stopped() -> Response {
    let text = "the daemon is stopping or this server was closed\n";
    plain(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Returns the response for a daemon that does not answer in time.
pub(super) fn busy() -> Response {
    let text = "the daemon did not respond in time\n";
    plain(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Returns the response for a page.
pub(super) fn render(page: Page, snapshot: Snapshot) -> Response {
    let report = &snapshot.report;
    match page {
        Page::Readiness => readiness(report),
        Page::ForwardReadiness(name) => {
            let mut forwards = report.forwards.iter().zip(&snapshot.forwards);
            match forwards.find(|(forward, _)| forward.name.as_str() == name) {
                Some((forward, sample)) => {
                    let configured = sample.configured.as_ref();
                    readiness_of(forward, configured.is_some_and(|own| own.listens))
                }
                None => plain(StatusCode::NOT_FOUND, "no forward has this name\n"),
            }
        }
        Page::Liveness => liveness(report),
        Page::Status => status(report),
        Page::Metrics(format, process) => typed(
            format.content_type(),
            prometheus::render(snapshot, process, format),
        ),
    }
}

/// A failing forward is listed but does not affect readiness: the others serve, and it is retried.
fn readiness(report: &StatusReport) -> Response {
    if report.stopping {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    let failing = report.forwards.iter().filter_map(|forward| {
        let failure = forward.failure.as_ref()?;
        Some(format!("failing: {} {}\n", forward.name, failure.code))
    });
    let failing: String = failing.collect();
    plain(StatusCode::OK, format!("ready\n{failing}"))
}

/// Unlike the daemon, a failing forward is not ready: its clients are reset. One that listens and
/// was not tried for long is ready again: only a client finds out, and clients may wait for this.
fn readiness_of(forward: &ForwardReport, listens: bool) -> Response {
    let reason = match (forward.state, &forward.failure) {
        (ForwardState::Ready, _) => return plain(StatusCode::OK, "ready\n"),
        (ForwardState::Failing, Some(failure))
            if listens && failure.may_be_over(MAX_FAILURE_AGE) =>
        {
            let text = format!(
                "ready\nnot tried since: {}: {}\n",
                failure.code, failure.error
            );
            return plain(StatusCode::OK, text);
        }
        (ForwardState::Failing, Some(failure)) => {
            format!("failing: {}: {}\n", failure.code, failure.error)
        }
        (ForwardState::Failing, None) => "failing\n".to_owned(),
        (ForwardState::Warming, _) => "warming: no session is ready yet\n".to_owned(),
        (ForwardState::Stopping, _) => "stopping\n".to_owned(),
        (ForwardState::Disabled, _) => "disabled by the configuration\n".to_owned(),
    };
    plain(StatusCode::SERVICE_UNAVAILABLE, reason)
}

fn liveness(report: &StatusReport) -> Response {
    match report.alive {
        true => plain(StatusCode::OK, "alive\n"),
        false => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "a forward no longer accepts connections\n",
        ),
    }
}

/// Removes profiles, roles and accounts, for clients on other machines: also the messages of
/// failures, which name them. Classes stay, and the expiry, which is in the metrics as well.
pub(super) fn remove_identities(report: &mut StatusReport) {
    for forward in &mut report.forwards {
        if let Some(own) = &mut forward.credentials {
            (own.profile, own.role_arn, own.account) = (None, None, None);
        }
        if let Some(failure) = &mut forward.failure {
            failure.error = "the message is shown to clients on this machine only".into();
            failure.hint = "".into();
        }
    }
}

fn status(report: &StatusReport) -> Response {
    match serde_json::to_string(report) {
        Ok(json) => typed("application/json", json + "\n"),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut response = typed("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    response
}

fn typed(kind: &'static str, text: impl Into<String>) -> Response {
    let mut response = Response::new(Full::from(text.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const ROUTES: &[(&str, Route)] = &[
    ("/startup", Route::Startup),
    ("/readiness", Route::Readiness),
    ("/liveness", Route::Liveness),
    ("/metrics", Route::Metrics),
    ("/status", Route::Status),
];

/// Before the name of a forward.
const FORWARD_READINESS: &str = "/readiness/";

/// Seconds for which a failure counts without another one, unless the daemon itself tries again:
/// then until it succeeds.
const MAX_FAILURE_AGE: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> StatusReport {
        StatusReport {
            version: "1".into(),
            pid: 1,
            uptime_seconds: 1,
            stopping: false,
            alive: true,
            reloads: 0,
            failed_reloads: 0,
            internal_errors: 0,
            log_lines_dropped: 0,
            log: "".into(),
            connections: 0,
            failing_servers: Vec::new(),
            forwards: Vec::new(),
            finishing: Vec::new(),
        }
    }

    #[test]
    fn a_stopping_daemon_is_alive_and_not_ready() {
        let stopping = StatusReport {
            stopping: true,
            ..report()
        };

        assert_eq!(readiness(&report()).status().as_u16(), 200);
        assert_eq!(readiness(&stopping).status().as_u16(), 503);
        assert_eq!(liveness(&stopping).status().as_u16(), 200);
    }

    #[test]
    fn unresponsive_accept_loops_are_not_alive() {
        let dead = StatusReport {
            alive: false,
            ..report()
        };

        assert_eq!(liveness(&dead).status().as_u16(), 503);
        assert_eq!(readiness(&dead).status().as_u16(), 200);
    }

    #[test]
    fn a_failure_counts_until_nothing_was_tried_for_long() {
        let status = |seen: u64, listens, retried| {
            let forward = serde_json::json!({
                "name": "f", "listen": [], "target": "i", "remote": "r:1", "state": "failing",
                "connections": 0, "waiting": 0, "accepted": 0, "sent": 0, "received": 0,
                "sessions": 0, "sessions_ready": 0, "sessions_started": 0, "sessions_failed": 0,
                "resumes": 0, "failure": {
                    "code": "DestinationRefused", "error": "refused", "hint": "",
                    "since_seconds": 9000, "seen_seconds": seen, "retried": retried,
                },
            });
            let forward = serde_json::from_value(forward).unwrap();
            readiness_of(&forward, listens).status().as_u16()
        };

        assert_eq!(status(0, true, false), 503);
        assert_eq!(status(MAX_FAILURE_AGE - 1, true, false), 503);
        assert_eq!(status(MAX_FAILURE_AGE, true, false), 200);
        assert_eq!(status(9000, false, false), 503, "it does not listen");
        assert_eq!(status(9000, true, true), 503, "the daemon tries again");
    }

    #[test]
    fn a_status_without_identity_has_no_profile_role_or_account() {
        let forward = serde_json::json!({
            "name": "f", "listen": [], "target": "i", "remote": "r:1", "state": "ready",
            "connections": 0, "waiting": 0, "accepted": 0, "sent": 0, "received": 0,
            "sessions": 0, "sessions_ready": 0, "sessions_started": 0, "sessions_failed": 0,
            "resumes": 0, "failure": {
                "code": "AccessDenied", "error": "arn:aws:iam::111122223333:role/r is not authorized",
                "hint": "profile prod", "since_seconds": 1, "seen_seconds": 1,
            }, "credentials": {
                "profile": "prod", "role_arn": "arn:aws:iam::111122223333:role/r",
                "account": "111122223333", "expires_seconds": 60,
            },
        });
        let mut report = report();
        report
            .forwards
            .push(serde_json::from_value(forward).unwrap());

        remove_identities(&mut report);

        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains("\"expires_seconds\":60"), "{text}");
        assert!(text.contains("AccessDenied"), "{text}");
        for identity in ["prod", "111122223333", "role/r"] {
            assert!(!text.contains(identity), "{text}");
        }
    }

    #[test]
    fn the_name_of_a_forward_is_one_segment() {
        let of = |path| route(&Method::GET, path);
        let named = |name: &str| Ok(Route::ForwardReadiness(name.to_owned()));

        assert_eq!(of("/readiness/db"), named("db"));
        assert_eq!(of("/readiness/a.b-c_d"), named("a.b-c_d"));
        assert_eq!(of("/readiness"), Ok(Route::Readiness));
        for path in ["/readiness/", "/readiness/a/b", "/readiness//a"] {
            assert_eq!(of(path), Err(RouteError::Unknown), "{path}");
        }
        assert_eq!(
            route(&Method::POST, "/readiness/db"),
            Err(RouteError::ReadOnly)
        );
    }
}
