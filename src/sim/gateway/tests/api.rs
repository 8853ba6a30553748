//! The SSM API: what is refused, and how.

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
async fn what_is_unsigned_is_refused_if_signatures_are_demanded() {
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
async fn requests_that_do_not_fit_are_told_why() {
    let target = "i-0123456789abcdef0";
    let document = "AWS-StartPortForwardingSession";
    let simulator = simulator(Options {
        offline: ["mi-0123456789abcdef0".to_owned()].into(),
        ..unpaced()
    })
    .await;
    let cases = [
        (json!({ "DocumentName": document }), "ValidationException"),
        (
            json!({ "Target": "", "DocumentName": document }),
            "ValidationException",
        ),
        (
            json!({ "Target": target, "DocumentName": "a b" }),
            "ValidationException",
        ),
        (
            json!({ "Target": target, "DocumentName": "Mine" }),
            "InvalidDocument",
        ),
        (json!({ "Target": target }), "InvalidDocument"),
        (
            json!({ "Target": "i-1", "DocumentName": document }),
            "TargetNotConnected",
        ),
        (
            json!({ "Target": "mi-0123456789abcdef0", "DocumentName": document }),
            "TargetNotConnected",
        ),
        (
            json!({ "Target": target, "DocumentName": document, "Parameters": { "portNumber": "1" } }),
            "SerializationException",
        ),
        (
            json!({ "Target": target, "DocumentName": document, "Parameters": { "portNumber": ["x"] } }),
            "InvalidParameters",
        ),
        (
            json!({ "Target": target, "DocumentName": document, "Parameters": { "host": ["db"] } }),
            "InvalidParameters",
        ),
        (json!([]), "SerializationException"),
    ];

    for (request, expected) in cases {
        let (status, error) = call(&simulator, "StartSession", &request).await;

        assert_eq!(
            (status, error["__type"].as_str()),
            (400, Some(expected)),
            "{request}: {error}"
        );
    }
    assert_eq!(
        call(&simulator, "Nonsense", &json!({})).await.1["__type"],
        "UnknownOperationException"
    );
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test]
async fn an_injected_error_strikes_as_often_as_asked() {
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
