//! Effects of responses, and of lost calls.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use tokio::sync::oneshot;

use super::start::follow_up;
use super::*;
use crate::clock;
use crate::session::error::Effect;
use crate::session::priority::Priority;
use crate::session::{Identity, Session, Settings, StartRequest};

async fn ssm() -> SsmClient {
    let settings = Settings {
        region: Some("eu-west-1".to_owned()),
        ..Settings::default()
    };
    SsmClient::load(settings).await.unwrap()
}

fn request() -> StartRequest {
    StartRequest {
        target: "i-0123456789abcdef0".to_owned(),
        document: "d".to_owned(),
        parameters: [].into(),
        reason: "a test".to_owned(),
    }
}

/// A task that panics drops its reply channel.
#[tokio::test]
async fn a_lost_call_is_an_internal_error_unless_the_daemon_stops() {
    for (is_stopping, kind) in [
        (false, ErrorKind::Internal),
        (true, ErrorKind::SessionEnded),
    ] {
        let (sessions, mut incoming) = unattended();
        let lost = async {
            let command = incoming.recv().await;
            if is_stopping {
                incoming.close();
            }
            drop(command);
        };

        let ssm = ssm().await;
        let (started, ()) = tokio::join!(start(&sessions, &ssm), lost);

        assert_eq!(started.unwrap_err().kind(), kind);
    }
}

async fn start(sessions: &Sessions, ssm: &SsmClient) -> Result<Session, Error> {
    let (priority, deadline) = (
        Priority::connection(),
        clock::now() + Duration::from_secs(60),
    );
    sessions
        .start(ssm, request(), &priority, deadline, |_| ())
        .await
}

/// Returns a handle without a dispatcher.
fn unattended() -> (Sessions, mpsc::UnboundedReceiver<Command>) {
    let (sessions, dispatcher) = Sessions::new(1, 1, Journal::none());
    (sessions, dispatcher.incoming)
}

#[tokio::test]
async fn a_start_that_waits_for_credentials_ends_with_its_caller_or_the_daemon() {
    for is_stopping in [false, true] {
        let (sessions, _incoming) = unattended();
        let (reply, answer) = oneshot::channel();
        let time_left = watch::Sender::new(TimeLeft::Unlimited);
        let start = Box::new(QueuedStart {
            ssm: SsmClient::unanswered().await,
            request: request(),
            priority: Priority::connection(),
            called: oneshot::channel().0,
            reply,
            span: Span::none(),
        });
        let now = clock::now();
        let start = start.run(sessions, now, Arc::default(), time_left.subscribe());
        let report_active = async {
            tokio::task::yield_now().await;
            match is_stopping {
                true => {
                    time_left.send_replace(TimeLeft::Seconds);
                    Some(answer)
                }
                false => {
                    drop(answer);
                    None
                }
            }
        };

        let ended = async { tokio::join!(start, report_active).0 };
        let left = tokio::time::timeout(Duration::from_secs(60), ended).await;

        assert_eq!(left, Ok(0), "stopping: {is_stopping}");
    }
}

/// The call is answered before the time of a shutdown is up, but the session is not in the journal
/// by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_handed_over_when_the_time_is_up_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), 0).unwrap();
    let writes = journal.block_writes();
    let (called, wait_for_call) = oneshot::channel();
    let (answer, wait_for_answer) = std::sync::mpsc::channel();
    let settings = Settings {
        region: Some("eu-west-1".to_owned()),
        ssm_endpoint: Some(format!("http://{}", api(called, wait_for_answer))),
        identity: Identity::Fixed {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "secret".to_owned(),
        },
        ..Settings::default()
    };
    let ssm = SsmClient::load(settings).await.unwrap();
    let (sessions, dispatcher) = Sessions::new(1, 1, journal.clone());
    let (mode, shutdown_mode) = watch::channel(ShutdownMode::Running);

    let shutdown = async {
        wait_for_call.await.unwrap();
        mode.send_replace(ShutdownMode::Forced);
        // The time is up after two seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer.send(()).unwrap();
    };
    let (left, started, ()) = tokio::join!(
        dispatcher.run(shutdown_mode),
        start(&sessions, &ssm),
        shutdown
    );

    assert_eq!(left, 1);
    assert_eq!(started.unwrap_err().kind(), ErrorKind::SessionEnded);
    drop(writes);
}

/// An API that is called once and responds when `answer` is received.
fn api(called: oneshot::Sender<()>, answer: std::sync::mpsc::Receiver<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.trim().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        stream.read_exact(&mut vec![0; length]).unwrap();
        called.send(()).unwrap();
        answer.recv().unwrap();
        let body = format!(
            r#"{{"SessionId":"s-1","StreamUrl":"ws://{address}/v1/data-channel/s-1","TokenValue":"t"}}"#
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
    });
    address
}

#[tokio::test]
async fn only_responses_of_aws_adapt_the_rate_limit() {
    let ssm = ssm().await;
    let called = clock::now();
    let failed = |kind, effect| {
        let error = Error::new("StartSession", kind, "").with_effect(effect);
        follow_up(&ssm, &Err(error), called)
    };

    let throttled = failed(ErrorKind::Throttled, Effect::Answered);
    let denied = failed(ErrorKind::Denied, Effect::Answered);

    assert!(matches!(throttled, Some(Command::Throttled(..))));
    assert!(matches!(denied, Some(Command::Answered(..))));
    assert!(failed(ErrorKind::Unreachable, Effect::NotSent).is_none());
    assert!(failed(ErrorKind::Credentials, Effect::NotSent).is_none());
    assert!(failed(ErrorKind::Unreachable, Effect::Unknown).is_none());
}
