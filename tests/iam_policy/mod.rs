//! `iam-policy`: what it prints allows the calls of the program, and nothing that is not needed.

mod calls;
mod matcher;
mod output;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::Value;
use ssm_proxyd::sim::{
    Credentials, DisconnectKind, Ecs, EcsService, OneOffFault, Options, ServerKind, Simulator,
};

use self::calls::{ACCOUNT, REGION, Tags, of_calls, of_websockets};
use self::matcher::{Request, allows, strings};
use crate::cli::ended;
use crate::support::connect_process::ConnectProcess;
use crate::support::daemon_process::{DaemonProcess, File, assert_echo, caller, connect, forward};
use crate::support::documents::{DATABASE, with_documents};
use crate::support::fake_api::{Api, HANG_UP};
use crate::support::in_process::{TARGET, destination, until};
use crate::support::process::ssm_proxyd;

const INSTANCE: &str = "i-00000001";
const HYBRID: &str = "mi-0123456789abcdef0";
const TASK: &str = "ecs:shop_0123456789abcdef0123456789abcdef_0123456789abcdef0123456789abcdef-42";
const TAGGED: &str = "i-00000002";
const ROLE: &str = "arn:aws:iam::111122223333:role/tunnel";

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_makes_no_call_that_the_policy_denies_and_needs_all_that_it_allows() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let text = [
        section("instance", INSTANCE, &format!("remote = {port}")),
        section("hybrid", HYBRID, "remote = \"db.internal:5432\""),
        section("task", TASK, &format!("remote = {port}")),
        section("own", INSTANCE, &format!("document = \"{DATABASE}\"")),
        format!(
            "[[forward]]\nname = \"tagged\"\nlisten = \"127.0.0.1:0\"\nremote = {port}\n\
             target = {{ tags = {{ Name = \"the $ bastion\" }} }}\n"
        ),
        section("service", "ecs:prod/web", &format!("remote = {port}")),
    ]
    .concat();
    let tags = Tags::from([(
        TAGGED.to_owned(),
        [("Name".to_owned(), "the $ bastion".to_owned())].into(),
    )]);
    let simulator = simulator(echo.address(), &tags).await;
    let is_lost = Arc::new(AtomicBool::new(false));
    let loses = Arc::clone(&is_lost);
    let recorder = Api::before_with(simulator.address(), move |_| {
        let is_lost = loses.swap(false, Relaxed);
        is_lost.then(|| (HANG_UP, String::new()))
    });
    let policy = policy(&text, &[]);

    let daemon = DaemonProcess::launch(caller(&simulator), &recorder.endpoint(), &text);
    let names = ["instance", "hybrid", "task", "own", "tagged", "service"];
    let mut clients = names.map(|name| connect(daemon.address_of(name)));
    clients
        .iter_mut()
        .for_each(|client| assert_echo(client, b"hello"));
    let broken = OneOffFault::Break(DisconnectKind::Reset);
    assert_eq!(simulator.inject(None, broken), names.len());
    clients
        .iter_mut()
        .for_each(|client| assert_echo(client, b"still here"));
    is_lost.store(true, Relaxed);
    let client = connect(daemon.address_of("instance"));
    until("the session of a lost response is looked for", || {
        !recorder.calls("DescribeSessions").is_empty()
    })
    .await;
    drop((client, clients));
    until("all sessions are ended", || simulator.open_sessions() == 0).await;
    daemon.stop(&simulator);

    let mut requests = of_calls(&recorder.all(), &tags);
    requests.extend(of_websockets(&simulator.ledger()));
    assert_allowed(&policy, &requests);
    assert_needed(&policy, &requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_ssh_the_policy_allows_connect() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let simulator = simulator(echo.address(), &Tags::new()).await;
    let recorder = Api::before_with(simulator.address(), |_| None);
    let text = forward("f", &format!("remote = {port}"));

    let endpoint = recorder.endpoint();
    let arguments = [TARGET, &port.to_string()];
    let mut connect = ConnectProcess::calling(&endpoint, &simulator, &arguments);
    connect.send(b"hello");
    assert_eq!(connect.receive(5), b"hello");
    connect.signal("TERM");
    until("the session is ended", || simulator.open_sessions() == 0).await;

    let mut requests = of_calls(&recorder.all(), &Tags::new());
    requests.extend(of_websockets(&simulator.ledger()));
    assert!(!requests.is_empty());
    assert_allowed(&policy(&text, &["--ssh"]), &requests);
    let denied = |policy: &Value| requests.iter().any(|request| !allows(policy, request));
    assert!(denied(&policy(&text, &[])));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_doctor_the_policy_allows_what_doctor_and_targets_look_up() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = simulator(echo.address(), &Tags::new()).await;
    let recorder = Api::before_with(simulator.address(), |_| None);
    let text = forward("f", &format!("remote = {}", echo.address().port()));
    let file = File::new(&format!(
        "[aws]\nregion = \"{REGION}\"\nssm_endpoint = \"{}\"\n{text}",
        recorder.endpoint()
    ));

    for command in ["doctor", "targets"] {
        let mut process = caller(&simulator);
        process.arg(command).arg("--config").arg(file.path());
        let (code, _, err) = ended(&mut process);
        assert_eq!(code, 0, "{err}");
    }

    let mut calls = recorder.all();
    // The request for the clock of the endpoint is no call.
    calls.retain(|call| !call.body.is_empty());
    let mut requests = of_calls(&calls, &Tags::new());
    requests.extend(of_websockets(&simulator.ledger()));
    let with_doctor = policy(&text, &["--doctor"]);
    assert_allowed(&with_doctor, &requests);
    let least = policy(&text, &[]);
    let denied = requests.iter().filter(|request| !allows(&least, request));
    let denied: BTreeSet<_> = denied.map(|request| request.action.as_str()).collect();
    let lookups = ["ssm:DescribeDocument", "ssm:DescribeInstanceInformation"];
    assert_eq!(denied, lookups.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_and_the_profile_that_assumes_it_have_a_policy_each() {
    let echo = destination(ServerKind::Echo).await;
    let credentials = Credentials {
        access_key_id: "ASIAROLE".to_owned(),
        secret_access_key: "not-a-secret".to_owned(),
        session_token: Some("token".to_owned()),
    };
    let sts = Api::sts(&credentials);
    let options = Options {
        credentials,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let recorder = Api::before_with(simulator.address(), |_| None);
    let port = echo.address().port();
    let text = forward("f", &format!("remote = {port}\nrole_arn = \"{ROLE}\""));
    let mut command = ssm_proxyd();
    command.env("AWS_ENDPOINT_URL_STS", sts.endpoint());

    let daemon = DaemonProcess::launch(command, &recorder.endpoint(), &text);
    assert_echo(&mut connect(daemon.address()), b"hello");
    until("the session is ended", || simulator.open_sessions() == 0).await;
    daemon.stop(&simulator);

    let of_source = of_calls(&sts.all(), &Tags::new());
    let source = policy(&text, &["--profile", "default"]);
    assert_allowed(&source, &of_source);
    assert_needed(&source, &of_source);
    let mut of_role = of_calls(&recorder.all(), &Tags::new());
    of_role.extend(of_websockets(&simulator.ledger()));
    let role = policy(&text, &["--role-arn", ROLE]);
    assert_allowed(&role, &of_role);
    assert!(of_source.iter().all(|request| !allows(&role, request)));
    // The account of the role is known.
    assert!(!role.to_string().contains(":*:"), "{role}");
    assert!(role.to_string().contains(ACCOUNT));
}

/// Every request is allowed.
fn assert_allowed(policy: &Value, requests: &[Request]) {
    for request in requests {
        assert!(allows(policy, request), "{request:#?} in {policy:#}");
    }
}

/// Without any one action or resource, a request is denied. A node with tags may be of two kinds,
/// of which the requests have one.
fn assert_needed(policy: &Value, requests: &[Request]) {
    let statements = policy["Statement"].as_array().unwrap();
    for (index, statement) in statements.iter().enumerate() {
        for key in ["Action", "Resource"] {
            let is_of_tags = statement["Condition"].get("StringEquals").is_some();
            if is_of_tags && key == "Resource" {
                continue;
            }
            for (number, part) in strings(&statement[key]).iter().enumerate() {
                let mut less = policy.clone();
                let parts = less["Statement"][index][key].as_array_mut().unwrap();
                parts.remove(number);
                let mut requests = requests.iter();
                let is_needed = requests.any(|request| !allows(&less, request));
                assert!(is_needed, "{part} of {statement:#} is not needed");
            }
        }
    }
}

/// Returns the policy for a file with these forwards.
fn policy(forwards: &str, arguments: &[&str]) -> Value {
    let file = File::new(&format!("[aws]\nregion = \"{REGION}\"\n{forwards}"));
    let mut command = ssm_proxyd();
    command.arg("iam-policy").args(arguments);

    let (code, out, err) = ended(command.arg("--config").arg(file.path()));

    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn section(name: &str, target: &str, keys: &str) -> String {
    forward(name, keys).replace(TARGET, target)
}

async fn simulator(address: SocketAddr, tags: &Tags) -> Simulator {
    let service = EcsService::new("prod", "web", &["app"]).with_tasks(1);
    let options = Options {
        nodes: tags.clone().into_iter().collect(),
        ecs: Ecs {
            services: vec![service],
        },
        ..Options::default()
    };
    let options = with_documents(options, 5432, address);
    Simulator::start(options).await.unwrap()
}
