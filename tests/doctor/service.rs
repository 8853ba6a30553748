//! Faults that AWS reports: target, document and StartSession.

use std::thread;
use std::time::Duration;

use ssm_proxyd::sim::agent::Version;
use ssm_proxyd::sim::{ApiFault, Document, DroppedResponses, Faults, Operation, ServerKind};

use super::*;
use crate::support::fake_api::Api;
use crate::support::in_process::destination;

/// A node that is not that of the forwards.
const OTHER: &str = "i-0fedcba9876543210";

fn node(id: &str, name: &str) -> (String, std::collections::BTreeMap<String, String>) {
    let tags = [("Name".to_owned(), name.to_owned())];
    (id.to_owned(), tags.into())
}

/// Makes an operation fail.
fn fail(simulator: &Simulator, operation: Operation, code: &str) {
    let code = code.to_owned();
    simulator.fail(operation, ApiFault { code, times: None });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_is_unknown() {
    let simulator = simulator(|options| options.nodes = [node(OTHER, "other")].into()).await;

    examine(&simulator, &forward(1)).assert_as("target-unknown");
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_is_offline() {
    let simulator = simulator(|options| {
        options.nodes = [node(TARGET, "bastion")].into();
        options.offline = [TARGET.to_owned()].into();
    });
    let simulator = simulator.await;

    examine(&simulator, &forward(1)).assert_as("target-offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_has_the_tags() {
    let simulator = simulator(|options| options.nodes = [node(OTHER, "other")].into()).await;
    let text = forward_with("target = { tags = { Name = \"bastion\" } }\nremote = 1\n");

    examine(&simulator, &text).assert_as("tags-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_may_not_be_listed_although_tags_need_it() {
    let simulator = simulator(|_| {}).await;
    let denied = "AccessDeniedException";
    fail(&simulator, Operation::DescribeInstanceInformation, denied);
    let text = forward_with("target = { tags = { Name = \"bastion\" } }\nremote = 1\n");

    examine(&simulator, &text).assert_as("tags-denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_descriptions_do_not_matter() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let denied = "AccessDeniedException";
    fail(&simulator, Operation::DescribeInstanceInformation, denied);
    simulator.set_faults({
        let mut faults = simulator.faults();
        let fault = ApiFault {
            code: denied.to_owned(),
            times: None,
        };
        faults.api.insert(Operation::DescribeDocument, fault);
        faults
    });

    examine(&simulator, &forward(echo.address().port())).assert_as("descriptions-denied");
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_too_old() {
    let old = |options: &mut Options| options.agent.version = Version::parse("3.1.1080.0");
    let simulator = simulator(old).await;
    let text = forward_with(&format!(
        "target = \"{TARGET}\"\nremote = \"db.internal:5432\"\n"
    ));

    examine(&simulator, &text).assert_as("agent-too-old");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_does_not_exist() {
    let simulator = simulator(|_| {}).await;
    let text = forward_with(&format!("target = \"{TARGET}\"\ndocument = \"Our-Db\"\n"));

    examine(&simulator, &text).assert_as("document-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_takes_other_parameters() {
    let document = Document::like("AWS-StartPortForwardingSessionToRemoteHost").unwrap();
    let document = document.fixing("host", "db.internal").unwrap();
    let simulator =
        simulator(|options| options.documents = [("Our-Db".to_owned(), document)].into());
    let simulator = simulator.await;
    let text = forward_with(&format!(
        "target = \"{TARGET}\"\ndocument = \"Our-Db\"\nremote = \"db.internal:5432\"\n"
    ));

    examine(&simulator, &text).assert_as("document-parameters");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_needs_a_parameter() {
    let document = Document::like("AWS-StartPortForwardingSessionToRemoteHost").unwrap();
    let simulator =
        simulator(|options| options.documents = [("Our-Db".to_owned(), document)].into());
    let simulator = simulator.await;
    let text = forward_with(&format!(
        "target = \"{TARGET}\"\ndocument = \"Our-Db\"\nparameters = {{ portNumber = \"1\" }}\n"
    ));

    examine(&simulator, &text).assert_as("document-parameter-missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn start_session_is_denied() {
    let simulator = simulator(|_| {}).await;
    fail(&simulator, Operation::StartSession, "AccessDeniedException");

    examine(&simulator, &forward(1)).assert_as("start-denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn start_session_is_throttled() {
    let simulator = simulator(|_| {}).await;
    fail(&simulator, Operation::StartSession, "ThrottlingException");

    examine(&simulator, &forward(1)).assert_as("start-throttled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_reached() {
    let simulator = simulator(|_| {}).await;
    fail(
        &simulator,
        Operation::StartSession,
        "ServiceQuotaExceededException",
    );

    examine(&simulator, &forward(1)).assert_as("start-quota");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_is_not_connected_after_all() {
    let simulator = simulator(|_| {}).await;
    fail(&simulator, Operation::StartSession, "TargetNotConnected");

    examine(&simulator, &forward(1)).assert_as("start-not-connected");
}

#[test]
fn start_session_is_not_answered() {
    let api = Api::by(|operation, _| match operation {
        "StartSession" => loop {
            thread::park();
        },
        other => describe(other),
    });
    let text = file(&api.endpoint(), &forward(1));

    let examined = examine_by(ssm_proxyd(), &text, &["--check-timeout", "2s"]);

    examined.assert_says("FAIL", "start-session", "no result within 2s");
    examined.assert_says("FAIL", "session-end", "the session may still be active");
    assert_eq!(examined.code, 75);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_response_of_start_session_is_lost() {
    let simulator = simulator(|_| {}).await;
    simulator.set_faults(Faults {
        drop_responses: Some(DroppedResponses { times: None }),
        ..Faults::default()
    });

    let examined = examine(&simulator, &forward(1));

    assert_eq!(examined.code, 69, "{}", examined.stdout);
    let left = simulator.open_sessions();
    assert_eq!(left, 0, "{}{}", examined.stdout, examined.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_all_checks_is_limited() {
    let simulator = simulator(|options| options.api_delay = Duration::from_secs(3600)).await;

    let text = with_endpoint(&simulator, &forward(1));
    let examined = examine_by(caller(&simulator), &text, &["--timeout", "3s"]);

    assert_eq!(examined.code, 75, "{}", examined.stdout);
    examined.assert_says(
        "SKIP",
        "start-session",
        "the time limit of all checks has passed",
    );
}
