//! The services behind `aws sso login` and `aws login`: the portal of IAM Identity Center, its OIDC
//! service, and AWS Sign-In, at one address. The text of a token chooses the response.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake_api::Api;

/// A configuration whose default profile has its credentials from the SSO session `corp`.
pub(crate) const CONFIG: &str = "[default]\nsso_session = corp\nsso_account_id = 111122223333\n\
    sso_role_name = ReadOnly\n[sso-session corp]\nsso_region = eu-central-1\n\
    sso_start_url = https://corp.awsapps.com/start\n";

/// The token directory, in the home directory.
pub(crate) const TOKENS: &str = ".aws/sso/cache";

/// The token file of the session `corp`, in the home directory.
pub(crate) const TOKEN_FILE: &str = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";

/// A token that must be refreshed before use.
pub(crate) const EXPIRED_TOKEN: &str = r#"{"accessToken":"old","expiresAt":"2020-01-01T00:00:00Z",
    "clientId":"a-client","clientSecret":"secret/client","refreshToken":"good",
    "registrationExpiresAt":"2100-01-01T00:00:00Z"}"#;

/// Starts the services.
pub(crate) fn services() -> Api {
    let failures = AtomicUsize::new(0);
    Api::new(move |_, call, text| {
        let text = String::from_utf8_lossy(text);
        let is = |token: &str| {
            text.contains(&format!("{token}\r\n")) || text.contains(&format!("\"{token}\""))
        };
        let answer = |status, body: &str| (status, body.to_owned());
        if is("fails") || (is("fails-once") && failures.fetch_add(1, Ordering::Relaxed) == 0) {
            return answer(
                503,
                "{\"__type\":\"ServiceUnavailable\",\"message\":\"busy\"}",
            );
        }
        if is("html") {
            return answer(200, "<html>log in to the network</html>");
        }
        match call.operation.as_str() {
            // The portal.
            "/federation/credentials" if is("good") || is("fresh") || is("fails-once") => {
                answer(200, &role_credentials())
            }
            "/federation/credentials" if is("forbidden") => answer(
                403,
                "{\"__type\":\"ForbiddenException\",\"message\":\"No access\"}",
            ),
            "/federation/credentials" => answer(
                401,
                "{\"__type\":\"UnauthorizedException\",\"message\":\"Session token not found or invalid\"}",
            ),
            // OIDC.
            "/token" if is("good") => answer(
                200,
                "{\"accessToken\":\"fresh\",\"expiresIn\":28800,\"refreshToken\":\"good\",\"tokenType\":\"Bearer\"}",
            ),
            "/token" => answer(
                400,
                "{\"__type\":\"InvalidGrantException\",\"error\":\"invalid_grant\",\"error_description\":\"no\"}",
            ),
            // Sign-In.
            "/v1/token" if is("revoked") => answer(
                400,
                "{\"__type\":\"AccessDeniedException\",\"error\":\"TOKEN_EXPIRED\",\"message\":\"expired\"}",
            ),
            "/v1/token" => answer(
                200,
                "{\"accessToken\":{\"accessKeyId\":\"ASIAFRESH\",\"secretAccessKey\":\"secret/fresh\",\
                 \"sessionToken\":\"session\"},\"tokenType\":\"aws_sigv4\",\"expiresIn\":900,\
                 \"refreshToken\":\"good\"}",
            ),
            other => answer(404, &format!("{{\"message\":\"no {other}\"}}")),
        }
    })
}

fn role_credentials() -> String {
    "{\"roleCredentials\":{\"accessKeyId\":\"ASIASSO\",\"secretAccessKey\":\"secret/of-sso\",\
     \"sessionToken\":\"session\",\"expiration\":4102444800000}}"
        .to_owned()
}
