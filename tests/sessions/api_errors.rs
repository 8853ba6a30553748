//! Responses of the API that do not show if a session exists, or that it cannot be ended: each
//! session is ended, or in the journal, or counted.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use ssm_proxyd::session::{
    Error, ErrorKind, Identity, Journal, JournalEntry, Session, Sessions, Settings, ShutdownMode,
    SsmClient, StartRequest, unix_seconds,
};
use ssm_proxyd::sim::{DroppedResponses, Faults, Options, ServerKind, Simulator};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::start_session;
use crate::support::daemon_process::{DaemonProcess, connect, forward_to, free_address};
use crate::support::fake_api::{Api, HANG_UP};
use crate::support::in_process::{TARGET, destination, until};

#[tokio::test]
async fn the_session_of_an_unusable_response_is_eventually_ended() {
    let foreign = session_at("wss://ssmmessages.eu-north-1.amazonaws.com");
    let api = api(foreign, &[(400, THROTTLED)]);
    let fixture = Fixture::new(&api.endpoint());

    let error = fixture.start().await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::InvalidEndpoint, "{error}");
    until("the session is ended", || {
        api.calls("TerminateSession").len() == 2
    })
    .await;
    assert_eq!(fixture.finish().await, (0, Vec::new()));
}

#[tokio::test]
async fn a_session_without_a_usable_id_is_counted_as_possibly_active() {
    for answer in [
        "{}".to_owned(),
        session_at("ws://127.0.0.1:1").replace("s-1", "a b"),
    ] {
        let api = api(answer, &[]);
        let fixture = Fixture::new(&api.endpoint());

        assert_eq!(
            fixture.start().await.unwrap_err().kind(),
            ErrorKind::ServiceFault
        );

        assert_eq!(fixture.finish().await, (1, Vec::new()));
    }
}

/// The call may have been executed.
#[tokio::test]
async fn a_call_that_fails_after_it_was_sent_is_counted_and_one_before_is_not() {
    let api = Api::new(|_, call, _| match call.operation.as_str() {
        "DescribeSessions" => (400, DENIED.to_owned()),
        _ => (HANG_UP, String::new()),
    });
    for (endpoint, left) in [
        (api.endpoint(), 1),
        (format!("http://{}", free_address()), 0),
        // Refused here: the endpoint is not encrypted.
        ("http://192.0.2.1:9".to_owned(), 0),
    ] {
        let fixture = Fixture::new(&endpoint);

        fixture.start().await.unwrap_err();

        assert_eq!(fixture.finish().await, (left, Vec::new()), "{endpoint}");
    }
}

/// A failed call started no session, and is not in flight at the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn only_calls_in_flight_are_counted_at_the_deadline() {
    let hanging = Api::hanging_in("StartSession", || "{}".to_owned());
    let denying = Api::answering(400, DENIED.to_owned());
    let unreachable = format!("http://{}", free_address());
    let fixture = Fixture::new(&unreachable);
    for _ in 0..3 {
        fixture.start().await.unwrap_err();
        fixture.start_at(&denying.endpoint()).await.unwrap_err();
    }
    let endpoint = hanging.endpoint();
    tokio::select! {
        started = fixture.start_at(&endpoint) => panic!("{started:?}"),
        () = until("the API is called", || hanging.calls("StartSession").len() == 1) => {}
    }

    fixture.leaving.send_replace(ShutdownMode::Forced);

    assert_eq!(fixture.finish().await, (1, Vec::new()));
}

#[tokio::test]
async fn the_session_of_a_lost_response_is_found_by_its_reason_and_ended() {
    let reason = Mutex::<Option<String>>::default();
    let api = Api::new(move |_, call, _| match call.operation.as_str() {
        "StartSession" => {
            let body: Value = serde_json::from_str(&call.body).unwrap();
            *reason.lock().unwrap() = Some(body["Reason"].as_str().unwrap().to_owned());
            (HANG_UP, String::new())
        }
        "DescribeSessions" => {
            let requests: Value = serde_json::from_str(&call.body).unwrap();
            assert_eq!(requests["State"], "Active");
            assert_eq!(
                requests["Filters"],
                json!([{ "key": "Target", "value": TARGET }])
            );
            let page = match requests["NextToken"].is_null() {
                true => json!({ "NextToken": "2", "Sessions": [
                    { "SessionId": "other", "Reason": "a test" },
                ] }),
                false => json!({ "Sessions": [
                    { "SessionId": "another" },
                    { "SessionId": "s-1", "Reason": *reason.lock().unwrap() },
                ] }),
            };
            (200, page.to_string())
        }
        _ => (200, "{}".to_owned()),
    });
    let fixture = Fixture::new(&api.endpoint());

    fixture.start().await.unwrap_err();

    until("the session is ended", || {
        api.calls("TerminateSession").len() == 1
    })
    .await;
    let ended = &api.calls("TerminateSession")[0].body;
    assert!(ended.contains("\"s-1\""), "{ended}");
    assert_eq!(fixture.finish().await, (0, Vec::new()));
    let started = &api.calls("StartSession")[0].body;
    assert!(started.contains("\"a test ["), "{started}");
}

#[tokio::test]
async fn responses_not_from_aws_do_not_count_for_the_session() {
    for (status, body) in [(403, "<html>"), (302, ""), (404, "not found"), (502, "")] {
        let api = api(session_at("ws://127.0.0.1:1"), &[(status, body)]);
        let fixture = Fixture::new(&api.endpoint());

        drop(fixture.start().await.unwrap());

        until("the call is retried", || {
            api.calls("TerminateSession").len() == 2
        })
        .await;
        assert_eq!(fixture.finish().await, (0, Vec::new()), "{status}");
    }
}

/// The next one may have another policy, other credentials, another configuration. It tries once.
#[tokio::test]
async fn a_session_that_aws_refuses_to_end_is_left_to_the_next_process() {
    let api = api(session_at("ws://127.0.0.1:1"), &[(400, DENIED); 3]);
    let fixture = Fixture::new(&api.endpoint());
    drop(fixture.start().await.unwrap());

    let (left, journal) = fixture.finish().await;

    assert_eq!((left, journal.len()), (1, 1));
    assert_eq!(journal[0].session, "s-1");
}

#[tokio::test]
async fn a_session_in_use_at_the_deadline_is_counted_and_stays_in_the_journal() {
    let api = api(session_at("ws://127.0.0.1:1"), &[]);
    let fixture = Fixture::new(&api.endpoint());
    let session = fixture.start().await.unwrap();

    fixture.leaving.send_replace(ShutdownMode::Forced);
    let (left, journal) = fixture.finish_before(Some(session)).await;

    assert_eq!((left, journal.len()), (1, 1));
    assert_eq!(api.calls("TerminateSession").len(), 0);
}

#[tokio::test]
async fn a_duplicate_session_id_does_not_end_another_session() {
    let api = api(session_at("ws://127.0.0.1:1"), &[]);
    let fixture = Fixture::new(&api.endpoint());
    let first = fixture.start().await.unwrap();

    let second = fixture.start().await;

    assert_eq!(second.unwrap_err().kind(), ErrorKind::ServiceFault);
    assert_eq!(api.calls("TerminateSession").len(), 0);
    drop(first);
    until("the session is ended", || {
        api.calls("TerminateSession").len() == 1
    })
    .await;
    // The id can be used again when the response to TerminateSession has been processed.
    let again = async {
        while fixture.start().await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let started = tokio::time::timeout(Duration::from_secs(60), again).await;
    assert!(started.is_ok(), "its id cannot be used again");
    assert_eq!(fixture.finish().await, (0, Vec::new()));
}

/// Its client gets a session of a second call, or a reset.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_finds_and_ends_the_session_of_a_lost_response() {
    let echo = destination(ServerKind::Echo).await;
    let faults = Faults {
        drop_responses: Some(DroppedResponses { times: Some(1) }),
        ..Faults::default()
    };
    let options = Options {
        faults,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let mut daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));

    let client = connect(daemon.address());
    daemon
        .process
        .stderr
        .wait_for("found the session of a lost response");

    let is_ended = || {
        let sessions = simulator.ledger().sessions;
        let first = sessions.first();
        first.is_some_and(|session| session.terminate_called && session.upgrades == 0)
    };
    until("the session is ended", is_ended).await;
    assert!(simulator.ledger().calls.contains_key("DescribeSessions"));
    drop(client);
    daemon.stop(&simulator);
}

/// Sessions with a journal.
struct Fixture {
    endpoint: String,
    directory: TempDir,
    sessions: Sessions,
    leaving: watch::Sender<ShutdownMode>,
    dispatcher: JoinSet<usize>,
}

impl Fixture {
    fn new(endpoint: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path(), unix_seconds()).unwrap();
        let (sessions, dispatcher) = Sessions::new(100, 1, journal);
        let leaving = watch::Sender::new(ShutdownMode::Running);
        let mut ending = JoinSet::new();
        ending.spawn(dispatcher.run(leaving.subscribe()));
        Self {
            endpoint: endpoint.to_owned(),
            directory,
            sessions,
            leaving,
            dispatcher: ending,
        }
    }

    async fn start(&self) -> Result<Session, Error> {
        self.start_at(&self.endpoint).await
    }

    /// The same at another endpoint.
    async fn start_at(&self, endpoint: &str) -> Result<Session, Error> {
        let settings = Settings {
            region: Some("us-east-1".to_owned()),
            ssm_endpoint: Some(endpoint.to_owned()),
            identity: Identity::Fixed {
                access_key: "AKIDEXAMPLE".to_owned(),
                secret_key: "not-a-secret".to_owned(),
            },
            ..Settings::default()
        };
        let service = SsmClient::load(settings).await.unwrap();
        let request = StartRequest {
            target: TARGET.to_owned(),
            document: "AWS-StartPortForwardingSession".to_owned(),
            parameters: [("portNumber".to_owned(), vec!["1".to_owned()])].into(),
            reason: "a test".to_owned(),
        };
        start_session(&self.sessions, &service, request).await
    }

    /// The number of sessions counted as possibly active, and those that the next process finds.
    async fn finish(self) -> (usize, Vec<JournalEntry>) {
        self.finish_before(None).await
    }

    /// The same, with a session that is dropped too late.
    async fn finish_before(self, held: Option<Session>) -> (usize, Vec<JournalEntry>) {
        let Self {
            directory,
            sessions,
            leaving,
            mut dispatcher,
            ..
        } = self;
        drop(sessions);
        let left = dispatcher.join_next().await.unwrap().unwrap();
        drop((leaving, held));
        let (_next, entries) = Journal::open(directory.path(), unix_seconds()).unwrap();
        (left, entries)
    }
}

/// Starts sessions with this body, and ends them after these responses.
fn api(body: String, first: &[(u16, &'static str)]) -> Api {
    let (first, ends) = (first.to_vec(), Arc::new(AtomicUsize::new(0)));
    Api::new(move |_, call, _| match call.operation.as_str() {
        "StartSession" => (200, body.clone()),
        "DescribeSessions" => (400, DENIED.to_owned()),
        _ => match first.get(ends.fetch_add(1, Relaxed)) {
            Some((status, body)) => (*status, (*body).to_owned()),
            None => (200, "{}".to_owned()),
        },
    })
}

fn session_at(origin: &str) -> String {
    format!(
        r#"{{"SessionId":"s-1","StreamUrl":"{origin}/v1/data-channel/s-1?role=publish_subscribe","TokenValue":"t"}}"#
    )
}

const THROTTLED: &str = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
const DENIED: &str = r#"{"__type":"AccessDeniedException","message":"no"}"#;
