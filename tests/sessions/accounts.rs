//! Several accounts or regions in one process: one that does not answer delays no other.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ssm_proxyd::session::{
    ErrorKind, Identity, Journal, Session, Sessions, Settings, ShutdownMode, SsmClient,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{request, start_session};
use crate::support::fake_api::Api;
use crate::support::in_process::until;

/// More than the concurrent calls of one account.
const MANY: usize = 70;

#[tokio::test]
async fn sessions_are_ended_while_another_endpoint_hangs() {
    let (hangs, works) = (starting("TerminateSession"), starting(""));
    let fixture = Fixture::new();
    let (failing, working) = (service(&hangs).await, service(&works).await);
    let mut held = Vec::new();
    for _ in 0..MANY {
        held.push(fixture.start(&failing).await);
    }
    let session = fixture.start(&working).await;

    drop(held);
    let is_busy = || hangs.calls("TerminateSession").len() >= 30;
    until("many calls hang", is_busy).await;
    drop(session);

    let is_ended = || works.calls("TerminateSession").len() == 1;
    until("the other account ends its session", is_ended).await;
    let calls = hangs.calls("TerminateSession").len();
    assert!(
        calls < 40,
        "it waited for the timeout of hanging calls: {calls}"
    );
}

#[tokio::test]
async fn sessions_are_resumed_while_another_endpoint_hangs() {
    let (hangs, works) = (starting("ResumeSession"), starting(""));
    let fixture = Fixture::new();
    let (failing, working) = (service(&hangs).await, service(&works).await);
    let mut session = fixture.start(&working).await;
    let mut hanging = JoinSet::new();
    for _ in 0..MANY {
        let mut session = fixture.start(&failing).await;
        hanging.spawn(async move { session.resume().await });
    }
    let is_busy = || hangs.calls("ResumeSession").len() >= 60;
    until("many calls hang", is_busy).await;

    let resumed = tokio::select! {
        resumed = session.resume() => resumed,
        _ = hanging.join_next() => panic!("the other account waited for a call that hangs"),
    };

    resumed.unwrap();
}

#[tokio::test]
async fn sessions_are_started_while_another_account_is_throttled() {
    let throttled = Api::answering(400, THROTTLED.to_owned());
    let works = starting("");
    let fixture = Fixture::new();
    let (failing, working) = (service(&throttled).await, service(&works).await);
    // Each response makes the backoff before the next call longer.
    for _ in 0..4 {
        let started = start_session(&fixture.sessions, &failing, request()).await;
        assert_eq!(started.unwrap_err().kind(), ErrorKind::Throttled);
    }
    let mut asking = JoinSet::new();
    let waits = fixture.sessions.clone();
    asking.spawn(async move { start_session(&waits, &failing, request()).await });

    let session = tokio::select! {
        session = fixture.start(&working) => session,
        _ = asking.join_next() => panic!("the backoff of one account delayed the other"),
    };

    assert_eq!(works.calls("StartSession").len(), 1);
    drop(session);
}

/// Starts sessions and answers everything except calls of this operation.
fn starting(hangs: &'static str) -> Api {
    let number = AtomicUsize::new(0);
    Api::hanging_in(hangs, move || {
        let n = number.fetch_add(1, Relaxed);
        let url = format!("ws://127.0.0.1:1/v1/data-channel/s-{n}?role=publish_subscribe");
        format!(r#"{{"SessionId":"s-{n}","StreamUrl":"{url}","TokenValue":"t"}}"#)
    })
}

/// One process.
struct Fixture {
    sessions: Sessions,
    _leaving: watch::Sender<ShutdownMode>,
    _dispatcher: JoinSet<usize>,
}

impl Fixture {
    fn new() -> Self {
        let (sessions, dispatcher) = Sessions::new(1000, 1, Journal::none());
        let leaving = watch::Sender::new(ShutdownMode::Running);
        let mut ending = JoinSet::new();
        ending.spawn(dispatcher.run(leaving.subscribe()));
        Self {
            sessions,
            _leaving: leaving,
            _dispatcher: ending,
        }
    }

    async fn start(&self, service: &SsmClient) -> Session {
        start_session(&self.sessions, service, request())
            .await
            .unwrap()
    }
}

async fn service(api: &Api) -> SsmClient {
    let settings = Settings {
        region: Some("us-east-1".to_owned()),
        ssm_endpoint: Some(api.endpoint()),
        identity: Identity::Fixed {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "not-a-secret".to_owned(),
        },
        ..Settings::default()
    };
    SsmClient::load(settings).await.unwrap()
}

const THROTTLED: &str = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
