//! `connect` through a document: its parameters, or port 22.

use ssm_proxyd::sim::{ServerKind, Simulator};

use crate::support::connect_process::ConnectProcess;
use crate::support::daemon_process::assert_clean;
use crate::support::documents::{DATABASE, HOST, with_documents};
use crate::support::in_process::{TARGET, destination, unpaced};

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_a_remote_gets_exactly_the_given_parameters() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(with_documents(unpaced(), 22, echo.address()))
        .await
        .unwrap();
    for (arguments, parameters) in [
        (&["--document", DATABASE][..], &[][..]),
        (
            &["--document", HOST, "--parameter", "portNumber=22"],
            &["portNumber=22"],
        ),
        (&["--document", HOST, "22"], &["portNumber=22"]),
        (
            &[
                "--document",
                HOST,
                "--parameter",
                "portNumber=22",
                "--parameter",
                "localPortNumber=0",
            ],
            &["localPortNumber=0", "portNumber=22"],
        ),
    ] {
        let mut process = ConnectProcess::with(&simulator, "", &[&[TARGET], arguments].concat());

        process.send(b"hello");
        assert_eq!(process.receive(5), b"hello", "{arguments:?}");
        process.signal("HUP");
        assert_eq!(process.end(), (129, String::new()));

        let session = simulator.ledger().sessions.pop().unwrap();
        let sent = session.parameters.iter();
        let sent: Vec<_> = sent
            .map(|(name, values)| format!("{name}={}", values.join(",")))
            .collect();
        assert_eq!(sent, parameters, "{arguments:?}");
        assert_eq!(session.document, arguments[1]);
    }
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_aws_gets_port_22() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let document = "AWS-StartPortForwardingSession";
    let mut process = ConnectProcess::with(&simulator, "", &[TARGET, "--document", document]);

    drop(process.stdin.take());
    process.end();

    let session = simulator.ledger().sessions.pop().unwrap();
    assert_eq!(session.parameters["portNumber"], ["22"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_repeated_has_several_values() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let document = ["--document", "AWS-StartSSHSession"];
    let parameters = ["--parameter", "portNumber=1", "--parameter", "portNumber=2"];
    let arguments = [&[TARGET][..], &document, &parameters].concat();

    let (code, stderr) = ConnectProcess::with(&simulator, "", &arguments).end();

    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("takes exactly one value"), "{stderr}");
}
