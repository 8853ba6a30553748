//! `/readiness/NAME`: one forward.

use serde_json::Value;

use super::{Fixture, curl, serving, until};
use crate::support::daemon_process::{assert_reset, connect, forward};
use crate::support::in_process::TARGET;

#[tokio::test(flavor = "multi_thread")]
async fn each_forward_has_a_page_that_says_why_it_is_not_ready() {
    let mut fixture = Fixture::new("").await;
    assert_eq!(fixture.get("/readiness/f").body, "ready\n");
    let off = forward("off", "remote = 1\nenabled = false");
    fixture.write(&serving(fixture.http), &(fixture.forward_with("") + &off));
    fixture.reload("reloaded: ");
    fixture.refuse_next();
    assert_reset(connect(fixture.forward));

    let (failing, off) = (fixture.get("/readiness/f"), fixture.get("/readiness/off"));

    assert_eq!(failing.status, 503);
    let text = "failing: TargetNotConnected: ";
    assert!(failing.body.starts_with(text), "{}", failing.body);
    assert_eq!(
        (off.status, off.body.as_str()),
        (503, "disabled by the configuration\n")
    );
    assert_eq!(fixture.get("/readiness").status, 200);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_whose_warm_sessions_cannot_be_started_is_not_ready() {
    let mut fixture = Fixture::new("").await;
    let node = "i-00000000000000bad";
    fixture.simulator.set_offline(node, true);
    let warm = forward("w", "remote = 1\nwarm = 1").replace(TARGET, node);
    fixture.write(&serving(fixture.http), &(fixture.forward_with("") + &warm));
    fixture.reload("reloaded: ");

    let warming = fixture.get("/readiness/w");

    assert_eq!(warming.status, 503, "{}", warming.body);
    // One refusal could be that of the warm session, which is tried again and again.
    fixture.simulator.set_offline(TARGET, true);
    assert_reset(connect(fixture.forward));
    until("the warm session has failed", || {
        let status = fixture.get("/status").body;
        let status: Value = serde_json::from_str(&status).unwrap();
        let retried = |index: usize| status["forwards"][index]["failure"]["retried"].clone();
        assert_eq!(retried(0), false, "only a connection shows");
        retried(1) == true
    })
    .await;
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_configured_is_unknown() {
    let fixture = Fixture::new("").await;

    for path in [
        "/readiness/g",
        "/readiness/F",
        "/readiness/%66",
        "/readiness/f%00",
    ] {
        let unknown = curl(&["-i", &fixture.url(path)]);
        assert_eq!(
            (unknown.status, unknown.body.as_str()),
            (404, "no forward has this name\n")
        );
    }
    for path in ["/readiness/", "/readiness/f/", "/readiness/f/g"] {
        assert_eq!(fixture.get(path).status, 404, "{path}");
    }
    let posted = curl(&["-i", "-X", "POST", &fixture.url("/readiness/f")]);
    assert_eq!(posted.status, 405);
    fixture.ends();
}
