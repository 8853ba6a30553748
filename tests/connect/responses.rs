//! Responses of the SSM API that are not from AWS, too large, or spread over many pages.

use std::io::{Read, Write};
use std::net::SocketAddr;

use serde_json::{Value, json};
use ssm_proxyd::sim::Simulator;

use crate::support::connect_process::ConnectProcess;
use crate::support::fake_api::{Api, captive_portal};
use crate::support::in_process::{TARGET, unpaced};
use crate::support::message_builder::gateway;
use crate::support::process::{Process, ssm_proxyd};

/// Runs `connect` with an API at this address. Returns the exit code and stderr.
fn connect(api: SocketAddr, target: &str) -> (i32, String) {
    let mut command = ssm_proxyd();
    command.env("AWS_ENDPOINT_URL_SSM", format!("http://{api}"));
    command.env("AWS_REGION", "us-east-1");
    let mut process = Process::start(command.args(["connect", target]));
    (process.exit_code(), process.stderr.all())
}

#[test]
fn a_web_page_is_not_a_response_of_the_api() {
    let portal = captive_portal();

    for target in [TARGET, "bastion"] {
        let (code, stderr) = connect(portal, target);

        assert_eq!(code, 69, "{stderr}");
        assert!(stderr.contains("[NotTheApi]"), "{stderr}");
        assert!(stderr.contains("captive portal"), "{stderr}");
    }
}

#[test]
fn an_empty_response_without_the_headers_of_aws_is_not_one_of_the_api() {
    let empty = gateway(|mut client| {
        while client.read(&mut [0; 4096]).is_ok_and(|len| len > 0) {
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            let _sent = client.write_all(response);
        }
    });

    for target in [TARGET, "bastion"] {
        let (code, stderr) = connect(empty, target);

        assert_eq!(code, 69, "{stderr}");
        assert!(stderr.contains("[NotTheApi]"), "{stderr}");
    }
}

/// With the headers of AWS, it is a fault of AWS.
#[test]
fn a_damaged_response_of_the_api_is_a_fault_of_the_service() {
    let api = Api::answering(200, "{\"SessionId\": \"s3cret".to_owned());

    let (code, stderr) = connect(api.address(), TARGET);

    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("[ServiceFault]"), "{stderr}");
    assert!(!stderr.contains("s3cret"), "{stderr}");
}

#[test]
fn a_response_without_end_is_cut() {
    let endless = gateway(|mut client| {
        let _call = client.read(&mut [0; 4096]);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut sent = client.write_all(head.as_bytes());
        let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
        while sent.is_ok() {
            sent = client.write_all(&chunk);
        }
    });

    let (code, stderr) = connect(endless, "bastion");

    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("a response of more than 8 MiB"), "{stderr}");
    assert!(stderr.contains("[NotTheApi]"), "{stderr}");
}

#[test]
fn a_node_behind_empty_pages_is_found() {
    let api = Api::by(|operation, body| match operation {
        "DescribeInstanceInformation" => {
            let page = page_of(body);
            let nodes = if page < 30 {
                json!([])
            } else {
                json!([node(0, "Online")])
            };
            let next = (page < 30).then(|| (page + 1).to_string());
            let list = json!({ "InstanceInformationList": nodes, "NextToken": next });
            (200, list.to_string())
        }
        _ => not_connected(),
    });

    let (_, stderr) = connect(api.address(), "bastion");

    assert_eq!(api.calls("StartSession").len(), 1, "{stderr}");
}

#[test]
fn an_online_node_among_a_thousand_others_is_found() {
    let api = Api::by(|operation, body| match operation {
        "DescribeInstanceInformation" => {
            let page = page_of(body);
            let is_filtered = body.contains("PingStatus");
            let nodes: Vec<_> = match is_filtered {
                true => vec![node(0, "Online")],
                false => (1..=50)
                    .map(|n| node(page * 50 + n, "ConnectionLost"))
                    .collect(),
            };
            let next = (!is_filtered).then(|| (page + 1).to_string());
            let list = json!({ "InstanceInformationList": nodes, "NextToken": next });
            (200, list.to_string())
        }
        _ => not_connected(),
    });

    let (_, stderr) = connect(api.address(), "bastion");

    let starts = api.calls("StartSession");
    assert!(starts[0].body.contains("i-00000000000000000"), "{stderr}");
    assert_eq!(starts.len(), 1, "{stderr}");
}

#[test]
fn a_page_that_names_itself_as_the_next_one_is_the_last() {
    let api = Api::by(|operation, _| match operation {
        "DescribeInstanceInformation" => {
            let list = json!({
                "InstanceInformationList": [node(0, "ConnectionLost")],
                "NextToken": "again",
            });
            (200, list.to_string())
        }
        _ => not_connected(),
    });

    let (_, stderr) = connect(api.address(), "bastion");

    assert_eq!(
        api.calls("DescribeInstanceInformation").len(),
        2,
        "{stderr}"
    );
    assert_eq!(stderr.matches("(ConnectionLost)").count(), 1, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_session_names_the_target() {
    let simulator = Simulator::start(unpaced()).await.unwrap();

    let port = ["1", "--reason", "INC-1"];
    let arguments = [&[TARGET][..], &port].concat();
    let (_, stderr) = ConnectProcess::with(&simulator, "", &arguments).end();

    let reason = &simulator.ledger().sessions[0].reason;
    let text = format!(", forward {TARGET}: INC-1 [");
    assert!(reason.contains(&text), "{reason} {stderr}");
}

/// The number of the page that a call requests.
fn page_of(body: &str) -> usize {
    let call: Value = serde_json::from_str(body).unwrap();
    let token = call["NextToken"].as_str();
    token.map_or(0, |token| token.parse().unwrap())
}

fn node(number: usize, status: &str) -> Value {
    json!({ "InstanceId": format!("i-{number:017x}"), "PingStatus": status })
}

fn not_connected() -> (u16, String) {
    let error = json!({ "__type": "TargetNotConnected", "message": "it is not connected" });
    (400, error.to_string())
}
