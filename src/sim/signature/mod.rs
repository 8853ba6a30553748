//! Verifies SigV4 signatures by recomputing them from the received request.
//!
//! The canonical request is built here from the received bytes, independently of the signing code;
//! only the key derivation is shared. An error of the signer therefore causes a mismatch. The
//! signature is in the `Authorization` header, or in the query of a presigned URL.
//!
//! Specification: AWS Signature Version 4; docs/protocol.md, section 0.1, for the upgrade.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use hyper::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// The credentials that the simulator accepts. They are dummies, but `Debug` omits the secrets.
#[derive(Clone)]
pub struct Credentials {
    /// Access key id; not secret.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            access_key_id: "AKIDSIMULATOR".to_owned(),
            secret_access_key: "simulated/not/a/secret".to_owned(),
            session_token: None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Expected values of a signature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub credentials: &'a Credentials,
    /// Region of the simulator.
    pub region: &'a str,
    /// `ssm` or `ssmmessages`.
    pub service: &'a str,
    /// Current wall clock time.
    pub wall: SystemTime,
}

/// A request as received.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedRequest<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path as sent.
    pub path: &'a str,
    /// Query as sent; empty if there is none.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Result of a signature check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// The request is not signed.
    Unsigned,
    /// The signature is valid.
    Valid,
    /// The signature is wrong.
    Wrong(SignatureError),
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("unsigned"),
            Self::Valid => f.write_str("valid"),
            Self::Wrong(fault) => write!(f, "wrong: {fault}"),
        }
    }
}

/// Reason why a signature is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature cannot be parsed.
    #[error("malformed ({0})")]
    Malformed(&'static str),
    /// The access key is unknown.
    #[error("unknown access key")]
    UnknownKey,
    /// The session token is unknown, or missing.
    #[error("unknown session token")]
    UnknownToken,
    /// The date is more than five minutes off.
    #[error("date is {0} s off")]
    Date(u64),
    /// The region or service is wrong.
    #[error("scope is {0}")]
    Scope(String),
    /// The `host` header is not signed.
    #[error("host is not signed")]
    HostUnsigned,
    /// The signature was made with another key or for another request.
    #[error("mismatch")]
    Mismatch,
}

/// Recomputes the signature and compares it.
pub(super) fn verify(request: SignedRequest<'_>, expected: Expected<'_>) -> Signature {
    let announce = match SignatureHeader::find(request) {
        Ok(Some(announce)) => announce,
        Ok(None) => return Signature::Unsigned,
        Err(fault) => return Signature::Wrong(fault),
    };
    match announce.check(request, expected) {
        Ok(()) => Signature::Valid,
        Err(fault) => Signature::Wrong(fault),
    }
}

/// Signature data of a request.
struct SignatureHeader {
    key: String,
    /// `date/region/service/aws4_request`.
    scope: String,
    signed_headers: String,
    signature: String,
    /// Such as `20240131T235959Z`.
    date: String,
    token: Option<String>,
    presigned: bool,
}

impl SignatureHeader {
    fn find(request: SignedRequest<'_>) -> Result<Option<Self>, SignatureError> {
        if let Some(header) = text(request.headers, "authorization") {
            return Self::from_header(header, request.headers).map(Some);
        }
        if parameter(request.query, "X-Amz-Signature").is_some() {
            return Self::from_query(request.query).map(Some);
        }
        Ok(None)
    }

    fn from_header(header: &str, headers: &HeaderMap) -> Result<Self, SignatureError> {
        let fields = header
            .strip_prefix(ALGORITHM)
            .ok_or(SignatureError::Malformed("algorithm"))?;
        let field = |name: &'static str| {
            let mut parts = fields
                .split(',')
                .filter_map(|part| part.trim().split_once('='));
            let found = parts.find(|(key, _)| *key == name);
            found
                .map(|(_, value)| value.to_owned())
                .ok_or(SignatureError::Malformed(name))
        };
        let (key, scope) = split_credential(&field("Credential")?)?;
        Ok(Self {
            key,
            scope,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
            date: text(headers, "x-amz-date")
                .ok_or(SignatureError::Malformed("x-amz-date"))?
                .to_owned(),
            token: text(headers, "x-amz-security-token").map(str::to_owned),
            presigned: false,
        })
    }

    fn from_query(query: &str) -> Result<Self, SignatureError> {
        let field =
            |name: &'static str| parameter(query, name).ok_or(SignatureError::Malformed(name));
        let (key, scope) = split_credential(&field("X-Amz-Credential")?)?;
        Ok(Self {
            key,
            scope,
            signed_headers: field("X-Amz-SignedHeaders")?,
            signature: field("X-Amz-Signature")?,
            date: field("X-Amz-Date")?,
            token: parameter(query, "X-Amz-Security-Token"),
            presigned: true,
        })
    }

    fn check(
        &self,
        request: SignedRequest<'_>,
        expected: Expected<'_>,
    ) -> Result<(), SignatureError> {
        if self.key != expected.credentials.access_key_id {
            return Err(SignatureError::UnknownKey);
        }
        if self.token != expected.credentials.session_token {
            return Err(SignatureError::UnknownToken);
        }
        let date = parse_date(&self.date).ok_or(SignatureError::Malformed("date"))?;
        let off = expected
            .wall
            .duration_since(date)
            .unwrap_or_else(|early| early.duration());
        if off > MAX_SKEW {
            return Err(SignatureError::Date(off.as_secs()));
        }
        let day = self.date.get(..8).unwrap_or_default();
        let scope = format!(
            "{day}/{}/{}/aws4_request",
            expected.region, expected.service
        );
        if self.scope != scope {
            return Err(SignatureError::Scope(self.scope.clone()));
        }
        if !self.signed_headers.split(';').any(|name| name == "host") {
            return Err(SignatureError::HostUnsigned);
        }
        match self.signature == self.compute(request, expected, date) {
            true => Ok(()),
            false => Err(SignatureError::Mismatch),
        }
    }

    fn compute(
        &self,
        request: SignedRequest<'_>,
        expected: Expected<'_>,
        date: SystemTime,
    ) -> String {
        let canonical = self.canonical(request);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.date,
            self.scope,
            hex::encode(Sha256::digest(canonical))
        );
        let secret = &expected.credentials.secret_access_key;
        let key = generate_signing_key(secret, date, expected.region, expected.service);
        calculate_signature(key, to_sign.as_bytes())
    }

    fn canonical(&self, request: SignedRequest<'_>) -> String {
        let SignedRequest {
            method, headers, ..
        } = request;
        let path = canonical_path(request.path);
        let query = canonical_query(request.query, self.presigned);
        let mut canonical = format!("{method}\n{path}\n{query}\n");
        for name in self.signed_headers.split(';') {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values.map(|value| collapse(value.as_bytes())).collect();
            canonical.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        let body = hex::encode(Sha256::digest(request.body));
        canonical.push_str(&format!("\n{}\n{body}", self.signed_headers));
        canonical
    }
}

fn split_credential(credential: &str) -> Result<(String, String), SignatureError> {
    let (key, scope) = credential
        .split_once('/')
        .ok_or(SignatureError::Malformed("Credential"))?;
    Ok((key.to_owned(), scope.to_owned()))
}

/// Encodes the path once more, as required by all services except S3.
fn canonical_path(path: &str) -> String {
    utf8_percent_encode(path, &ENCODED_IN_PATH).to_string()
}

/// Sorts the parameters, without the signature itself.
fn canonical_query(query: &str, presigned: bool) -> String {
    let mut parameters: Vec<_> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .filter(|(name, _)| !(presigned && *name == "X-Amz-Signature"))
        .collect();
    parameters.sort_unstable();
    let parameters: Vec<_> = parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
    parameters.join("&")
}

/// Returns the decoded value of a query parameter.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|part| part.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let value = percent_decode_str(value).decode_utf8_lossy();
    Some(value.into_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns a header value with inner white space collapsed and outer removed.
fn collapse(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Parses a date such as `20240131T235959Z`.
fn parse_date(text: &str) -> Option<SystemTime> {
    let part = |range: Range<usize>| text.get(range);
    let (year, month, day_hour) = (part(0..4)?, part(4..6)?, part(6..11)?);
    let (minute, second) = (part(11..13)?, part(13..text.len())?);
    let date = format!("{year}-{month}-{day_hour}:{minute}:{second}");
    let date = DateTime::from_str(&date, Format::DateTime).ok()?;
    date.try_into().ok()
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256 ";
/// AWS rejects dates further off, in both directions.
const MAX_SKEW: Duration = Duration::from_secs(300);
/// All characters but those that RFC 3986 calls unreserved, and `/`.
const ENCODED_IN_PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

#[cfg(test)]
mod tests;
