//! Output of a simulator that is ready: a JSON line for programs and a hint for people.

use std::path::Path;

use serde_json::{Value, json};

use crate::sim::Simulator;

/// Returns everything that a program needs, as one JSON object.
pub(super) fn to_json(simulator: &Simulator, certificate: Option<&Path>) -> Value {
    let options = simulator.options();
    let credentials = &options.credentials;
    let endpoint = simulator.endpoint();
    let mut environment = json!({
        "AWS_ENDPOINT_URL_SSM": endpoint,
        "AWS_ENDPOINT_URL_ECS": endpoint,
        "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT": endpoint,
        "AWS_REGION": options.region,
        // Read by the AWS CLI and other Python clients.
        "AWS_DEFAULT_REGION": options.region,
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    });
    if let Some(token) = &credentials.session_token {
        environment["AWS_SESSION_TOKEN"] = json!(token);
    }
    if let Some(path) = certificate {
        // The reader may have another working directory.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        environment["AWS_CA_BUNDLE"] = json!(path);
    }
    json!({
        "address": simulator.address(),
        "endpoint": endpoint,
        "stream_scheme": if options.tls { "wss" } else { "ws" },
        "certificate": simulator.certificate_pem(),
        "manual": format!("{endpoint}/simulator/"),
        "ledger": format!("{endpoint}/simulator/ledger"),
        "faults": format!("{endpoint}/simulator/faults"),
        "environment": environment,
    })
}

/// Returns instructions for pointing a client at the simulator.
pub(super) fn hint(ready_line: &Value) -> String {
    let mut hint =
        String::from("simulating AWS Session Manager; to use it with an AWS SDK or the AWS CLI:\n");
    for (name, value) in ready_line["environment"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        hint.push_str(&format!("  export {name}={value}\n"));
    }
    let page = |name: &str| ready_line[name].as_str().unwrap_or_default();
    let curl = curl(ready_line);
    hint.push_str(&format!(
        "all targets, for example i-0123456789abcdef0, are online; sessions reach ports of this machine,\n\
         and hosts mapped at the start: --map db.internal:5432=127.0.0.1:5432\n\
         recorded sessions and calls: {curl} {}\n\
         fault injection, manual: {curl} {}\n\
         stop with Ctrl-C",
        page("ledger"),
        page("manual"),
    ));
    hint
}

/// Returns the curl command, with the option to trust the simulator's certificate if needed.
fn curl(ready_line: &Value) -> String {
    let bundle = ready_line["environment"]["AWS_CA_BUNDLE"].as_str();
    match (bundle, ready_line["certificate"].is_string()) {
        (Some(bundle), _) => format!("curl --cacert {bundle}"),
        (None, true) => "curl --insecure".to_owned(),
        (None, false) => "curl".to_owned(),
    }
}
