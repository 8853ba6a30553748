//! The credentials services of a machine: instance metadata (IMDS) and the endpoint of a container.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake_api::Api;

/// Starts both. `behaviour` is their response to a request for credentials: `good`, `denied`,
/// `absent`, `fails`, `fails-once` or `html`.
pub(crate) fn services(behaviour: &str) -> Api {
    let (behaviour, failures) = (behaviour.to_owned(), AtomicUsize::new(0));
    Api::new(move |_, call, text| {
        let answer = |status, body: &str| (status, body.to_owned());
        match call.operation.as_str() {
            "/latest/api/token" => return answer(200, "token-of-the-machine"),
            "/latest/meta-data/placement/region" => return answer(200, "eu-central-1"),
            "/latest/meta-data/iam/security-credentials/" if behaviour != "absent" => {
                return answer(200, "NodeRole");
            }
            "/latest/meta-data/iam/security-credentials/NodeRole" | "/credentials" => {}
            "/credentials-for-bearers" => {
                let text = String::from_utf8_lossy(text).to_lowercase();
                if !text.contains("authorization: bearer-of-the-container\r\n") {
                    return answer(401, "{\"code\":\"Unauthorized\",\"message\":\"no token\"}");
                }
            }
            other => return answer(404, &format!("no {other}")),
        }
        let is_first = failures.fetch_add(1, Ordering::Relaxed) == 0;
        match behaviour.as_str() {
            "good" => answer(200, CREDENTIALS),
            "fails-once" if !is_first => answer(200, CREDENTIALS),
            "fails" | "fails-once" => answer(500, "busy"),
            "html" => answer(200, "<html>log in to the network</html>"),
            "denied" => answer(403, "{\"code\":\"AccessDenied\",\"message\":\"not you\"}"),
            _ => answer(404, "nothing"),
        }
    })
}

const CREDENTIALS: &str = "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\
    \"AccessKeyId\":\"ASIAMACHINE\",\"SecretAccessKey\":\"secret/of-the-machine\",\
    \"Token\":\"session\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\
    \"Expiration\":\"2100-01-01T00:00:00Z\"}";
