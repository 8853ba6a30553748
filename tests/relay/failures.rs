//! Destinations that cannot be connected.

use ssm_proxyd::bundle::record::FailureClass;
use ssm_proxyd::bundle_driver::OpenFlowError;

use super::{Daemon, Relay, in_time, listener};

async fn failure(daemon: &Daemon, host: &str, port: u16) -> (FailureClass, String) {
    match in_time(daemon.handle.open(host, port)).await {
        Err(OpenFlowError::Failed(class, text)) => (class, text.to_string()),
        other => panic!("{host}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_is_reported_with_the_error() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (closed, address) = listener().await;
    drop(closed);

    let (class, text) = failure(&daemon, "127.0.0.1", address.port()).await;

    assert_eq!(class, FailureClass::Refused);
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_allows_is_denied_and_not_connected() {
    let (listener, address) = listener().await;
    let port = address.port();
    let mut relay = Relay::start(&["--allow", "db.internal:1-65535"]);
    let daemon = Daemon::of(&relay).await;

    for host in ["127.0.0.1", "localhost", "::1", "other.internal"] {
        let (class, text) = failure(&daemon, host, port).await;
        assert_eq!(class, FailureClass::NotAllowed, "{host}");
        assert!(
            text.starts_with("no --allow of the relay permits"),
            "{text}"
        );
    }
    let (class, _) = failure(&daemon, "2130706433", port).await;
    assert_eq!(class, FailureClass::Other);

    let line = relay.process.stderr.wait_for("not_allowed");
    assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
    let accepted = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept());
    assert!(accepted.await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_is_reported() {
    let relay = Relay::start(&["--allow", "*.invalid:5432"]);
    let daemon = Daemon::of(&relay).await;

    let (class, text) = failure(&daemon, "db.invalid", 5432).await;

    assert_eq!(class, FailureClass::NotResolved);
    assert!(text.starts_with("db.invalid: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_connected_on_either_loopback() {
    let (listener, address) = listener().await;
    let relay = Relay::start(&["--allow", "localhost:*"]);
    let daemon = Daemon::of(&relay).await;

    let opened = in_time(daemon.handle.open("LOCALHOST", address.port())).await;

    assert!(opened.is_ok());
    listener.accept().await.unwrap();
}
