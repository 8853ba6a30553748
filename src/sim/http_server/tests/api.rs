//! Tests of the SSM API: rejected requests and their errors.

use super::*;

#[tokio::test]
async fn an_unknown_session_cannot_be_upgraded_or_resumed() {
    let simulator = simulator(unpaced()).await;
    let url = format!("ws://{}/v1/data-channel/nobody", simulator.address());

    assert_eq!(upgrade(&simulator, &url).await.unwrap_err(), 404);
    let (status, error) = call(
        &simulator,
        "ResumeSession",
        &json!({ "SessionId": "nobody" }),
    )
    .await;
    assert_eq!(
        (status, error["__type"].as_str()),
        (400, Some("DoesNotExistException"))
    );
    assert_eq!(simulator.ledger().refused_upgrades[&404], 1);
}

#[tokio::test]
async fn unsigned_requests_are_rejected_if_signatures_are_required() {
    let options = Options {
        require_signature: true,
        ..unpaced()
    };
    let simulator = simulator(options).await;

    let (status, error) = call(&simulator, "StartSession", &json!({})).await;

    assert_eq!(status, 403);
    assert_eq!(error["__type"], "MissingAuthenticationTokenException");
    let url = format!("ws://{}/v1/data-channel/nobody", simulator.address());
    assert_eq!(upgrade(&simulator, &url).await.unwrap_err(), 403);
}

#[tokio::test]
async fn invalid_requests_are_rejected_with_a_reason() {
    let simulator = simulator(Options {
        offline: ["mi-0123456789abcdef0".to_owned()].into(),
        ..unpaced()
    })
    .await;

    for (request, expected) in UNFIT {
        let request: Value = serde_json::from_str(request).unwrap();
        let (status, error) = call(&simulator, "StartSession", &request).await;

        let got = (status, error["__type"].as_str());
        assert_eq!(got, (400, Some(expected)), "{request}: {error}");
    }
    let (_, error) = call(&simulator, "Nonsense", &json!({})).await;
    assert_eq!(error["__type"], "UnknownOperationException");
    assert_eq!(simulator.ledger().started, 0);
}

/// Invalid requests, each with its expected error code.
const UNFIT: [(&str, &str); 11] = [
    (
        r#"{"DocumentName": "AWS-StartSSHSession"}"#,
        "ValidationException",
    ),
    (
        r#"{"Target": "", "DocumentName": "AWS-StartSSHSession"}"#,
        "ValidationException",
    ),
    (
        r#"{"Target": "i-0123456789abcdef0", "DocumentName": "a b"}"#,
        "ValidationException",
    ),
    (
        r#"{"Target": "i-0123456789abcdef0", "DocumentName": "Mine"}"#,
        "InvalidDocument",
    ),
    (r#"{"Target": "i-0123456789abcdef0"}"#, "InvalidDocument"),
    (
        r#"{"Target": "i-1", "DocumentName": "AWS-StartSSHSession"}"#,
        "TargetNotConnected",
    ),
    (
        r#"{"Target": "mi-0123456789abcdef0", "DocumentName": "AWS-StartSSHSession"}"#,
        "TargetNotConnected",
    ),
    (
        r#"{"Target": "i-0123456789abcdef0", "DocumentName": "AWS-StartSSHSession",
            "Parameters": {"portNumber": "1"}}"#,
        "SerializationException",
    ),
    (
        r#"{"Target": "i-0123456789abcdef0", "DocumentName": "AWS-StartSSHSession",
            "Parameters": {"portNumber": ["x"]}}"#,
        "InvalidParameters",
    ),
    (
        r#"{"Target": "i-0123456789abcdef0", "DocumentName": "AWS-StartSSHSession",
            "Parameters": {"host": ["db"]}}"#,
        "InvalidParameters",
    ),
    ("[]", "SerializationException"),
];

#[tokio::test]
async fn an_injected_error_is_returned_the_given_number_of_times() {
    let simulator = simulator(unpaced()).await;
    let fault = ApiFault {
        code: "ThrottlingException".to_owned(),
        times: Some(1),
    };
    simulator.fail(Operation::StartSession, fault);

    let (status, error) = call(&simulator, "StartSession", &json!({})).await;
    start(&simulator, 9).await;

    assert_eq!(
        (status, error["__type"].as_str()),
        (400, Some("ThrottlingException"))
    );
    assert_eq!(simulator.ledger().outcomes["ThrottlingException"], 1);
}
