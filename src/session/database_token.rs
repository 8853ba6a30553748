//! Tokens for IAM authentication at databases of RDS and Aurora, in place of a password.
//!
//! A token is a presigned URL without its scheme: `GET https://HOST:PORT/?Action=connect&DBUser=…`,
//! signed with SigV4 for the service `rds-db`. The database verifies it when a connection is
//! opened, within 15 minutes. Signing makes no call: AWS does not learn of a token until it is used.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignatureLocation, SigningSettings};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::domains::before_aws_domain;
use super::error::{Error, ErrorKind};
use super::sigv4::sign_get;

/// A user of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseLogin {
    /// Name of the endpoint of the database, as in its certificate. Others are not accepted by RDS.
    pub host: String,
    /// Port of the database.
    pub port: u16,
    /// User of the database.
    pub user: String,
}

impl DatabaseLogin {
    /// Returns the region in the name of an endpoint of RDS or Aurora: `….REGION.rds.amazonaws.com`,
    /// in China `….rds.REGION.amazonaws.com.cn`. `None` for other hosts.
    pub fn region(&self) -> Option<String> {
        let name = self.host.strip_suffix('.').unwrap_or(&self.host);
        let endpoint = before_aws_domain(name)?;
        let mut labels = endpoint.rsplit('.');
        let (last, previous) = (labels.next()?, labels.next()?);
        let is_service = |label: &str| label.eq_ignore_ascii_case(SERVICE_LABEL);
        let region = match (is_service(last), is_service(previous)) {
            (true, _) => previous,
            (false, true) => last,
            (false, false) => return None,
        };
        Some(region.to_ascii_lowercase())
    }

    /// Returns the URL that is signed, without its scheme.
    fn url(&self) -> String {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        let host = match host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => host.to_ascii_lowercase(),
        };
        let user = encoded(&self.user);
        format!("{host}:{}/?Action=connect&DBUser={user}", self.port)
    }
}

/// A token: a secret for 15 minutes. `Debug` omits it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseToken(String);

impl DatabaseToken {
    /// Returns the secret. Only for the program that opens the connection.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseToken(..)")
    }
}

/// Signs a token for the region of the database.
///
/// # Errors
///
/// Fails if the signer rejects the URL.
pub(super) fn database_token(
    login: &DatabaseLogin,
    region: &str,
    credentials: Credentials,
    now: SystemTime,
) -> Result<DatabaseToken, Error> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let mut token = login.url();
    let url = format!("https://{token}");
    let signed = sign_get(&url, (region, SERVICE), settings, credentials, now);
    let signed = signed.map_err(|error| unsignable(&error))?;
    for (name, value) in signed.params() {
        token += &format!("&{name}={}", encoded(value));
    }
    Ok(DatabaseToken(token))
}

fn unsignable(why: &dyn fmt::Display) -> Error {
    let why = format!("cannot sign it: {why}");
    Error::new(TOKEN, ErrorKind::Invalid, why)
}

/// Encodes a value of a query as SigV4 requires it.
fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, ENCODED)
}

/// The `what` of errors.
pub(super) const TOKEN: &str = "database token";

/// The signing name of IAM authentication.
const SERVICE: &str = "rds-db";

/// How long a token is accepted; RDS accepts none for longer.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// All characters but the unreserved ones of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The label beside the region in the names of endpoints.
const SERVICE_LABEL: &str = "rds";

#[cfg(test)]
mod tests {
    use super::*;

    fn login(host: &str, port: u16, user: &str) -> DatabaseLogin {
        DatabaseLogin {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
        }
    }

    fn token(login: &DatabaseLogin, session: Option<&str>) -> String {
        let session = session.map(str::to_owned);
        let credentials = Credentials::new("akid", "skid", session, None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_478_540_373);
        let signed = database_token(login, "us-east-1", credentials, now);
        signed.unwrap().expose().to_owned()
    }

    /// Returns the parts of a token in a certain order; their order has no meaning.
    fn sorted(token: &str) -> Vec<&str> {
        let mut parts: Vec<_> = token.split(['?', '&']).collect();
        parts.sort_unstable();
        parts
    }

    /// The example in the tests of AWS's own SDKs (botocore, `test_signers.py`).
    #[test]
    fn a_token_equals_the_example_of_aws() {
        let login = login(
            "prod-instance.us-east-1.rds.amazonaws.com",
            3306,
            "someusername",
        );

        let expected = "prod-instance.us-east-1.rds.amazonaws.com:3306/?Action=connect\
            &DBUser=someusername&X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Date=20161107T173933Z&X-Amz-SignedHeaders=host\
            &X-Amz-Expires=900&X-Amz-Credential=akid%2F20161107%2F\
            us-east-1%2Frds-db%2Faws4_request&X-Amz-Signature\
            =d1138cdbc0ca63eec012ec0fc6c2267e03642168f5884a7795320d4c18374c61";
        assert_eq!(sorted(&token(&login, None)), sorted(expected));
    }

    /// What botocore 1.44.8 returns from `generate_db_auth_token` for the same keys and time.
    #[test]
    fn a_token_equals_that_of_botocore() {
        let host = "prod-instance.us-east-1.rds.amazonaws.com";
        let other = login(host, 5432, "o'brien+ä @x/%~*.-_");
        let expected = "prod-instance.us-east-1.rds.amazonaws.com:5432/?Action=connect\
            &DBUser=o%27brien%2B%C3%A4%20%40x%2F%25~%2A.-_&X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=akid%2F20161107%2Fus-east-1%2Frds-db%2Faws4_request\
            &X-Amz-Date=20161107T173933Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
            &X-Amz-Security-Token=to%2Fken%2B%3D%3D&X-Amz-Signature\
            =2d6edae16ff4cbdeccd5606516308acf5c6c58f06dc86c278d9b95fb2922f796";
        let token_of_role = token(&other, Some("to/ken+=="));
        assert_eq!(sorted(&token_of_role), sorted(expected));

        // The default port of https, and a name in another case than in the signature.
        let named = login("Orders.ABC.us-east-1.rds.amazonaws.com.", 443, "app");
        let signature = "87669bb5d8e692724ea6de3f8e25bea1ceb82fefc305f77dc90a1925592d3541";
        let token = token(&named, None);
        assert!(token.ends_with(signature), "{token}");
        assert!(token.starts_with("orders.abc.us-east-1.rds.amazonaws.com:443/?"));
    }

    #[test]
    fn the_region_of_an_endpoint_is_in_its_name() {
        for (host, region) in [
            ("a.b.eu-west-1.rds.amazonaws.com", Some("eu-west-1")),
            ("A.B.EU-WEST-1.RDS.AMAZONAWS.COM.", Some("eu-west-1")),
            (
                "p.proxy-b.us-gov-west-1.rds.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            ("a.b.rds.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("rds.amazonaws.com", None),
            ("a.b.eu-west-1.rds.example.org", None),
            ("a.eu-west-1.es.amazonaws.com", None),
            ("orders.internal", None),
            ("10.0.0.7", None),
            ("ä.amazonaws.co", None),
            ("", None),
        ] {
            let found = login(host, 1, "u").region();
            assert_eq!(found.as_deref(), region, "{host}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = DatabaseToken("secret".to_owned());

        assert_eq!(format!("{token:?}"), "DatabaseToken(..)");
    }
}
