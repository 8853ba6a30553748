//! Validates credentials before they are passed to the SDK, which panics on a key or token that is
//! not a valid header value.

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};

/// The names of the three values in messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueNames {
    key: &'static str,
    secret: &'static str,
    token: &'static str,
}

/// Names for values that do not come from the environment.
pub(super) const OF_PROVIDER: ValueNames = ValueNames {
    key: "the access key id",
    secret: "the secret access key",
    token: "the session token",
};

const OF_ENVIRONMENT: ValueNames = ValueNames {
    key: "AWS_ACCESS_KEY_ID",
    secret: "AWS_SECRET_ACCESS_KEY",
    token: "AWS_SESSION_TOKEN",
};

/// An invalid value in credentials. The value itself is not shown.
#[derive(Debug, thiserror::Error)]
#[error("{name} {why}")]
pub(super) struct BadValue {
    name: &'static str,
    why: &'static str,
}

/// Returns the credentials without white space around their values.
///
/// # Errors
///
/// [`BadValue`], as an invalid configuration, if a value is empty or contains anything but
/// printable ASCII characters.
pub(super) fn checked(credentials: &Credentials, names: ValueNames) -> provider::Result {
    let value = |text: &str, name| {
        let text = text.trim();
        let why = match text {
            "" => "is empty",
            _ if text.bytes().all(|b| b.is_ascii_graphic()) => return Ok(text.to_owned()),
            _ if text.chars().any(char::is_control) => {
                "contains a line break or another control character"
            }
            _ => "contains a space or a character that is not ASCII",
        };
        Err(CredentialsError::invalid_configuration(BadValue {
            name,
            why,
        }))
    };
    let key = value(credentials.access_key_id(), names.key)?;
    let secret = value(credentials.secret_access_key(), names.secret)?;
    let token = credentials.session_token();
    let token = token.filter(|token| !token.trim().is_empty());
    let token = token.map(|token| value(token, names.token)).transpose()?;
    let mut builder = Credentials::builder()
        .access_key_id(key)
        .secret_access_key(secret)
        .provider_name("checked");
    builder.set_session_token(token);
    builder.set_expiry(credentials.expiry());
    builder.set_account_id(credentials.account_id().cloned());
    Ok(builder.build())
}

/// The credentials in the environment variables, validated.
#[derive(Debug, Default)]
pub(super) struct Environment(EnvironmentVariableCredentialsProvider);

impl ProvideCredentials for Environment {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            checked(&self.0.provide_credentials().await?, OF_ENVIRONMENT)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(key: &str, secret: &str, token: Option<&str>) -> Credentials {
        Credentials::new(key, secret, token.map(str::to_owned), None, "test")
    }

    #[test]
    fn white_space_around_values_is_removed() {
        let given = credentials("AKID\n", " secret\r\n", Some("\ttoken\n"));

        let checked = checked(&given, OF_PROVIDER).unwrap();

        assert_eq!(checked.access_key_id(), "AKID");
        assert_eq!(checked.secret_access_key(), "secret");
        assert_eq!(checked.session_token(), Some("token"));
    }

    #[test]
    fn a_value_that_does_not_fit_into_a_header_is_rejected_by_name() {
        for (given, name) in [
            (credentials("AK\nID", "secret", None), "AWS_ACCESS_KEY_ID"),
            (
                credentials("AK\u{e9}ID", "secret", None),
                "AWS_ACCESS_KEY_ID",
            ),
            (
                credentials("AKID", "se\0cret", None),
                "AWS_SECRET_ACCESS_KEY",
            ),
            (credentials("AKID", " ", None), "AWS_SECRET_ACCESS_KEY"),
            (
                credentials("AKID", "secret", Some("to ken")),
                "AWS_SESSION_TOKEN",
            ),
        ] {
            let error = checked(&given, OF_ENVIRONMENT).unwrap_err();

            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.starts_with(name), "{source}");
            assert!(
                !source.contains("cret") && !source.contains("ken "),
                "{source}"
            );
        }
    }
}
