//! What a daemon reports about the bundle of a forward with a relay.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use serde_json::Value;
use ssm_proxyd::sim::OneOffFault;

use super::Fixture;
use crate::cli::ended;
use crate::relay::Relay;
use crate::support::daemon_process::{
    assert_echo, assert_reset, assert_served, connect, free_address,
};
use crate::support::in_process::until;
use crate::support::payload::pattern;
use crate::support::process::ssm_proxyd;

impl Fixture {
    /// Makes the forward use a relay.
    fn through(&mut self, relay: u16, keys: &str) {
        let http = super::serving(self.http);
        let keys = format!("relay = {relay}\n{keys}\n");
        self.write(&http, &self.forward_with(&keys));
        self.reload("reloaded: ");
    }

    fn detail(&self, arguments: &[&str]) -> String {
        let mut command = ssm_proxyd();
        command.args(["status", "f", "--socket"]).arg(self.socket());
        let (code, output, error) = ended(command.args(arguments));
        assert_eq!(code, 0, "{error}");
        output
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.detail(&["--json"])).unwrap()
    }

    fn stripes(&self, state: &str) -> u64 {
        self.of_f(&format!(
            "bundle_stripes{{forward=\"f\",state=\"{state}\"}}"
        ))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_metrics_show_the_bundle() {
    let relay = Relay::local();
    let mut fixture = Fixture::new("").await;
    fixture.through(relay.address.port(), "stripes = 3");
    let idle = fixture.json();
    assert_eq!(idle["forward"]["relay"]["bundle"], Value::Null);
    assert_eq!(fixture.of_f("bundle_max_stripes"), 3);
    assert_eq!(fixture.of_f("bundle_stripes_wanted"), 0);

    let mut client = connect(fixture.forward);
    assert_echo(&mut client, b"hello");

    let detail = fixture.json();
    let reported = &detail["forward"]["relay"];
    assert_eq!(reported["port"], relay.address.port());
    assert_eq!(reported["max_stripes"], 3);
    assert_eq!(reported["last_failure"], Value::Null);
    let bundle = &reported["bundle"];
    for (key, value) in [
        ("stripes_connected", 1),
        ("stripes_wanted", 1),
        ("stripes_silent", 0),
        ("flows", 1),
    ] {
        assert_eq!(bundle[key], value, "{key}");
    }
    assert_eq!(bundle["trend"], "steady");
    let stripe = &detail["stripes"][0];
    assert_eq!(stripe["session"], detail["sessions"][0]["id"]);
    assert_eq!(stripe["state"], "connected");
    assert!(stripe["sent"].as_u64() > Some(5) && stripe["received"].as_u64() > Some(5));
    // The agent reports the port of the relay.
    assert_eq!(detail["forward"]["destination"], Value::Null);
    assert_eq!(fixture.stripes("connected"), 1);
    assert_eq!(fixture.of_f("bundle_flows"), 1);
    let text = fixture.detail(&[]);
    let line = format!(
        "f: relay on port {}: 1 of at most 3 stripes connected",
        relay.address.port()
    );
    assert!(
        text.contains(&line) && text.contains("\n1 stripe\n"),
        "{text}"
    );
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_is_reported_and_a_lost_stripe_with_its_reason() {
    let relay = Relay::local();
    let mut fixture = Fixture::new("").await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let http = super::serving(fixture.http);
    let keys = format!(
        "remote = {port}\nrelay = {}\nstripes = 3\n",
        relay.address.port()
    );
    let forward = super::forward("f", &keys);
    fixture.write(
        &http,
        &forward.replace("127.0.0.1:0", &fixture.forward.to_string()),
    );
    fixture.reload("reloaded: ");
    thread::spawn(move || {
        let mut server = listener.accept().unwrap().0;
        // Longer than the window of compression: bytes that shrink need no further session.
        let data = pattern(7, 1 << 20);
        while server.write_all(&data).is_ok() {}
    });
    let mut client = connect(fixture.forward);
    thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));

    until("it has grown", || fixture.stripes("connected") == 3).await;
    assert_eq!(fixture.of_f("bundle_stripes_wanted"), 3);
    fixture.simulator.inject(None, OneOffFault::KillAgent);

    until("the loss is counted", || {
        fixture.of_f("bundle_stripe_failures_total") > 0
    })
    .await;
    let failure = fixture.json()["forward"]["relay"]["last_failure"].clone();
    assert_eq!(failure["code"], "SessionLost");
    let text = fixture.detail(&[]);
    assert!(text.contains("last failure of a stripe"), "{text}");
    until("it has grown again", || fixture.stripes("connected") == 3).await;
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_fails_until_the_relay_answers_although_its_sessions_are_ready() {
    let mut fixture = Fixture::new("").await;
    let address = free_address();
    fixture.through(address.port(), "");
    assert_reset(connect(fixture.forward));
    assert_eq!(fixture.of_f("forward_failing"), 1);
    let failure = fixture.json()["forward"]["failure"].clone();
    assert_eq!(failure["code"], "RelayUnavailable");
    let port = format!("port {}", address.port());
    assert!(
        failure["error"].as_str().unwrap().contains(&port),
        "{failure}"
    );

    let _relay = Relay::listening(&address.to_string(), &["--allow", "127.0.0.0/8:*"]);
    assert_served(fixture.forward);

    assert_eq!(fixture.of_f("forward_failing"), 0);
    let log = fixture.ends();
    assert!(!log.contains("the document leads to"), "{log}");
}
