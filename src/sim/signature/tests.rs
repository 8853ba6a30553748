//! Tests with requests signed by the AWS signer, valid and with errors.

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use hyper::header::{HeaderName, HeaderValue};

use super::*;

struct Signed {
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_731_000_000)
}

/// Signs a POST request like an SDK.
fn signed(credentials: &Credentials, location: SignatureLocation, query: &str) -> Signed {
    let identity = AwsCredentials::new(
        &credentials.access_key_id,
        &credentials.secret_access_key,
        credentials.session_token.clone(),
        None,
        "test",
    )
    .into();
    let mut settings = SigningSettings::default();
    settings.signature_location = location;
    settings.expires_in = Some(Duration::from_secs(60));
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("ssm")
        .time(wall())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = format!("http://127.0.0.1:8080/a/b%20c?{query}");
    let own = [
        ("host", "127.0.0.1:8080"),
        ("x-amz-target", "AmazonSSM.StartSession"),
    ];
    let body = b"{}".to_vec();
    let signable =
        SignableRequest::new("POST", &uri, own.into_iter(), SignableBody::Bytes(&body)).unwrap();
    let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();

    let mut headers = HeaderMap::new();
    for (name, value) in own.into_iter().chain(instructions.headers()) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let mut query = query.to_owned();
    for (name, value) in instructions.params() {
        query.push_str(&format!(
            "&{name}={}",
            canonical_path(value).replace('/', "%2F")
        ));
    }
    Signed {
        query,
        headers,
        body,
    }
}

impl Signed {
    fn verify(&self, credentials: &Credentials, service: &str, late: u64) -> Signature {
        let request = SignedRequest {
            method: "POST",
            path: "/a/b%20c",
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
        };
        let expected = Expected {
            credentials,
            region: "us-east-1",
            service,
            wall: wall() + Duration::from_secs(late),
        };
        verify(request, expected)
    }
}

fn in_headers(credentials: &Credentials) -> Signed {
    signed(credentials, SignatureLocation::Headers, "b=2&a=1")
}

#[test]
fn signatures_of_the_aws_signer_are_valid() {
    let plain = Credentials::default();
    let temporary = Credentials {
        session_token: Some("token/with+signs=".to_owned()),
        ..Credentials::default()
    };
    for credentials in [plain, temporary] {
        for location in [SignatureLocation::Headers, SignatureLocation::QueryParams] {
            let signed = signed(&credentials, location, "b=2&a=1");

            assert_eq!(
                signed.verify(&credentials, "ssm", 0),
                Signature::Valid,
                "{location:?}"
            );
        }
    }
}

#[test]
fn a_request_without_a_signature_is_unsigned() {
    let known = Credentials::default();
    let mut signed = in_headers(&known);
    signed.headers.remove("authorization");

    assert_eq!(signed.verify(&known, "ssm", 0), Signature::Unsigned);
}

#[test]
fn every_change_of_the_request_is_a_mismatch() {
    let known = Credentials::default();
    let mismatch = Signature::Wrong(SignatureError::Mismatch);

    let mut body = in_headers(&known);
    body.body.push(b' ');
    let mut query = in_headers(&known);
    query.query.push_str("&c=3");
    let mut header = in_headers(&known);
    header
        .headers
        .insert("host", HeaderValue::from_static("elsewhere"));

    for changed in [body, query, header] {
        assert_eq!(changed.verify(&known, "ssm", 0), mismatch);
    }
}

#[test]
fn a_wrong_key_secret_token_date_or_scope_is_reported() {
    let known = Credentials::default();
    let with = |change: fn(&mut Credentials)| {
        let mut other = Credentials::default();
        change(&mut other);
        in_headers(&other).verify(&known, "ssm", 0)
    };

    let key = with(|other| other.access_key_id = "AKIDOTHER".to_owned());
    assert_eq!(key, Signature::Wrong(SignatureError::UnknownKey));
    let secret = with(|other| other.secret_access_key = "other".to_owned());
    assert_eq!(secret, Signature::Wrong(SignatureError::Mismatch));
    let token = with(|other| other.session_token = Some("other".to_owned()));
    assert_eq!(token, Signature::Wrong(SignatureError::UnknownToken));
    let late = in_headers(&known).verify(&known, "ssm", 301);
    assert_eq!(late, Signature::Wrong(SignatureError::Date(301)));
    let scope = in_headers(&known).verify(&known, "ssmmessages", 0);
    assert!(
        matches!(scope, Signature::Wrong(SignatureError::Scope(_))),
        "{scope}"
    );
}

#[test]
fn dates_are_read_across_leap_days() {
    let seconds = |text| {
        let date = parse_date(text).unwrap();
        date.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };

    assert_eq!(seconds("19700101T000000Z"), 0);
    assert_eq!(seconds("20000229T120000Z"), 951_825_600);
    assert_eq!(seconds("20241107T172000Z"), 1_731_000_000);
    assert_eq!(parse_date("20241307T172000Z"), None);
    assert_eq!(parse_date("2024110é172000Z"), None);
}

#[test]
fn credentials_do_not_show_their_secrets() {
    let credentials = Credentials {
        session_token: Some("hush".to_owned()),
        ..Credentials::default()
    };

    let shown = format!("{credentials:?}");

    assert!(
        !shown.contains("not/a/secret") && !shown.contains("hush"),
        "{shown}"
    );
}
