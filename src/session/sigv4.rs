//! The signed websocket upgrade request for a stream URL.
//!
//! Each connection attempt is signed with SigV4 for the service `ssmmessages`: GET, the URL with
//! its query, an empty body, and `host` as the only signed header besides those that signing adds.
//! A URL with a signature in its query is used unchanged (docs/protocol.md, section 0.1).

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningInstructions, SigningSettings, sign,
};
use aws_sigv4::sign::v4;

use super::error::{Error, ErrorKind};
use super::stream_url::{StreamUrl, is_presigned};
use crate::clock;
use crate::network::Endpoint;

/// Returns the upgrade request for a presigned stream URL; `None` if it is not presigned.
pub(super) fn presigned(url: &StreamUrl) -> Option<Upgrade> {
    is_presigned(url.uri()).then(|| unsigned(url))
}

/// Returns the upgrade request for a stream URL without a signature besides that of its query, if it
/// has one.
pub(super) fn unsigned(url: &StreamUrl) -> Upgrade {
    Upgrade {
        endpoint: url.endpoint().clone(),
        url: url.text(),
        headers: Vec::new(),
        credentials: None,
    }
}

/// Signs the upgrade request for a stream URL with the current time.
///
/// # Errors
///
/// Fails if the signer rejects the URL.
pub(super) fn signed(
    url: &StreamUrl,
    region: &str,
    credentials: Credentials,
) -> Result<Upgrade, Error> {
    let text = url.text();
    Ok(Upgrade {
        endpoint: url.endpoint().clone(),
        headers: headers(&text, region, credentials.clone(), clock::wall())?,
        url: text,
        credentials: Some(credentials),
    })
}

fn unsignable(why: &dyn fmt::Display) -> Error {
    let why = format!("cannot sign the stream URL of the session: {why}");
    Error::new("websocket upgrade", ErrorKind::Invalid, why)
}

/// An upgrade request, to be sent once. `Debug` omits the signature.
pub struct Upgrade {
    endpoint: Endpoint,
    /// The full URL.
    pub url: String,
    /// Names and values of headers besides those of the websocket protocol.
    pub headers: Vec<(String, String)>,
    /// The credentials used for signing.
    credentials: Option<Credentials>,
}

impl Upgrade {
    /// Returns the endpoint to connect to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the credentials used for signing; `None` if the URL was presigned, or it is unsigned.
    pub fn signature(&self) -> Option<Signature> {
        self.credentials.clone().map(Signature)
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upgrade({})", self.endpoint)
    }
}

/// The credentials of a signature, for comparison with others. `Debug` omits them.
#[derive(Clone)]
pub struct Signature(pub(super) Credentials);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

fn headers(
    url: &str,
    region: &str,
    credentials: Credentials,
    now: SystemTime,
) -> Result<Vec<(String, String)>, Error> {
    // The signer takes the host from the URL and omits a default port, as HTTP does; it knows only
    // the default ports of HTTP schemes.
    let url = url.replacen("ws", "http", 1);
    let settings = SigningSettings::default();
    let signed = sign_get(&url, (region, SERVICE), settings, credentials, now);
    let signed = signed.map_err(|error| unsignable(&error))?;
    let headers = signed.headers();
    Ok(headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Signs a GET request without a body, for a region and the signing name of a service.
///
/// # Errors
///
/// Returns why the signer rejects it.
pub(super) fn sign_get(
    url: &str,
    (region, service): (&str, &str),
    settings: SigningSettings,
    credentials: Credentials,
    now: SystemTime,
) -> Result<SigningInstructions, String> {
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]));
    let request = request.map_err(|error| error.to_string())?;
    let signed = sign(request, &params).map_err(|error| error.to_string())?;
    Ok(signed.into_parts().0)
}

/// The signing name of the data channel endpoint.
const SERVICE: &str = "ssmmessages";

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials::new(
            "AKIDEXAMPLE",
            "not-a-secret",
            Some("a-token".to_owned()),
            None,
            "test",
        )
    }

    fn upgrade(url: &str) -> Upgrade {
        let url = StreamUrl::new(url, "eu-west-1").unwrap();
        presigned(&url).unwrap_or_else(|| signed(&url, "eu-west-1", credentials()).unwrap())
    }

    #[test]
    fn only_the_host_is_signed_beside_what_signing_adds() {
        let upgrade = upgrade("wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/a?b=c");

        let authorization = upgrade
            .headers
            .iter()
            .find(|(name, _)| name == "authorization");
        let value = &authorization.expect("it is signed").1;
        assert!(
            value.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"),
            "{value}"
        );
        assert!(
            value.contains("/eu-west-1/ssmmessages/aws4_request"),
            "{value}"
        );
    }

    #[test]
    fn a_presigned_url_is_left_alone() {
        assert!(
            upgrade("ws://127.0.0.1:9/x?X-Amz-Signature=00")
                .headers
                .is_empty()
        );
    }

    #[test]
    fn an_upgrade_prints_no_secret() {
        let upgrade = upgrade("ws://127.0.0.1:9/x?role=a");

        assert_eq!(format!("{upgrade:?}"), "Upgrade(127.0.0.1:9)");
    }
}
