//! Calls of library code with a timeout, and with panics caught.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_types::os_shim_internal::Env;
use futures_util::FutureExt;
use tokio::time::timeout;

use crate::panics::{Panic, take_location};
use crate::session::error::{Error, ErrorKind};

/// Awaits `work` for at most `limit`. `what` names the call in the error.
///
/// # Errors
///
/// [`ErrorKind::Unreachable`] after `limit`, [`ErrorKind::Internal`] if `work` panics. In both
/// cases the rest of `work` is dropped.
pub(super) async fn guarded<T>(
    what: &'static str,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let env = Env::real();
    // After a panic, state borrowed by the future is only read.
    let work = AssertUnwindSafe(work).catch_unwind();
    match timeout(limit, work).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(payload)) => {
            let location = take_location().map(|location| format!(" at {location}"));
            let panic = Panic::new(&*payload);
            let odd =
                odd_variables(VARIABLES.map(|name| (name, env.get(name).unwrap_or_default())));
            let why = format!(
                "the AWS SDK panicked{}: {}{odd}",
                location.unwrap_or_default(),
                panic.message()
            );
            Err(Error::new(what, ErrorKind::Internal, why))
        }
        Err(_) => {
            let why = format!("no response within {} s", limit.as_secs());
            Err(Error::new(what, ErrorKind::Unreachable, why))
        }
    }
}

/// Returns the end of a message: the variables with a value that is not printable ASCII; empty if
/// there are none. The values are not shown.
fn odd_variables<'a>(values: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let is_odd = |value: &str| value.contains(|c: char| c.is_control() || !c.is_ascii());
    let values = values.into_iter().filter(|(_, value)| is_odd(value));
    let names: Vec<_> = values.map(|(name, _)| name).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(
            "; the value of {} in the environment has a character that is not printable ASCII",
            names.join(" and ")
        ),
    }
}

/// The environment variables that the SDK writes into its requests.
const VARIABLES: [&str; 8] = [
    "AWS_REGION",
    "AWS_PROFILE",
    "AWS_SDK_UA_APP_ID",
    "AWS_EXECUTION_ENV",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let work = async {
            if true {
                panic!("in a test")
            }
        };

        let error = guarded("call", Duration::from_secs(60), work).await;

        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        let text = error.to_string();
        assert!(text.contains("the AWS SDK panicked"), "{text}");
        assert!(text.contains("in a test"), "{text}");
        assert!(!text.contains("character"), "{text}");
        assert!(!error.hint().contains("character"), "{}", error.hint());
    }

    #[test]
    fn only_values_with_odd_characters_are_named() {
        let value = |name, value: &str| (name, value.to_owned());

        let none = odd_variables([value("A", "us-east-1"), value("B", "")]);
        let two = odd_variables([value("A", "a\nb"), value("B", "x"), value("C", "\u{e9}")]);

        assert_eq!(none, "");
        assert!(two.contains("of A and C in"), "{two}");
        assert!(!two.contains('\u{e9}'), "{two}");
    }

    #[tokio::test]
    async fn a_call_that_does_not_end_is_an_error() {
        let error = guarded("call", Duration::from_millis(1), pending::<()>()).await;

        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unreachable);
    }
}
