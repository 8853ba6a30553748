//! Effects of responses, and of lost calls.

use super::start::news;
use super::*;
use crate::session::Settings;
use crate::session::StartRequest;
use crate::session::error::Effect;

async fn service() -> Service {
    let settings = Settings {
        region: Some("eu-west-1".to_owned()),
        ..Settings::default()
    };
    Service::load(settings).await.unwrap()
}

fn request() -> StartRequest {
    StartRequest {
        target: "i-0123456789abcdef0".to_owned(),
        document: "d".to_owned(),
        parameters: Vec::new(),
        reason: "a test".to_owned(),
    }
}

/// A task that panics drops its reply channel.
#[tokio::test]
async fn a_lost_call_is_an_internal_error_unless_the_daemon_stops() {
    for (is_stopping, kind) in [(false, Kind::Internal), (true, Kind::Ended)] {
        let (sessions, mut incoming) = unattended();
        let called = Instant::now();
        let turn = Turn { sessions, called };
        let lost = async {
            let job = incoming.recv().await;
            if is_stopping {
                incoming.close();
            }
            drop(job);
        };

        let (started, ()) = tokio::join!(turn.start(service().await, request()), lost);

        assert_eq!(started.unwrap_err().kind(), kind);
    }
}

/// Returns a handle without a dispatcher.
fn unattended() -> (Sessions, mpsc::UnboundedReceiver<Job>) {
    let (sessions, dispatcher) = Sessions::new(1, 1, Journal::none());
    (sessions, dispatcher.incoming)
}

#[tokio::test]
async fn only_answers_of_aws_tell_of_its_rate() {
    let service = service().await;
    let called = Instant::now();
    let failed = |kind, effect| {
        let error = Error::new("StartSession", kind, "").with_effect(effect);
        news(&service, &Err(error), called)
    };

    let throttled = failed(Kind::Throttled, Effect::Answered);
    let denied = failed(Kind::Denied, Effect::Answered);

    assert!(matches!(throttled, Some(Job::Throttled(..))));
    assert!(matches!(denied, Some(Job::Answered(..))));
    assert!(failed(Kind::Unreachable, Effect::NotSent).is_none());
    assert!(failed(Kind::Credentials, Effect::NotSent).is_none());
    assert!(failed(Kind::Unreachable, Effect::Unknown).is_none());
}
