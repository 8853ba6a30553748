//! Validates single command-line values by the rules of the configuration file.

use crate::config::check::address::{check_endpoint, check_proxy};
use crate::config::check::identifiers::{check_document, check_profile, check_region, check_role};
use crate::config::diagnostic::ValueError;

/// Checks the name of a region.
///
/// # Errors
///
/// Fails if it is not valid.
pub fn region(text: &str) -> Result<String, ValueError> {
    check_region(text).map(|()| text.to_owned())
}

/// Checks the name of a profile in the AWS configuration files.
///
/// # Errors
///
/// Fails if it is not valid.
pub fn profile(text: &str) -> Result<String, ValueError> {
    check_profile(text).map(|()| text.to_owned())
}

/// Checks the ARN of a role.
///
/// # Errors
///
/// Fails if it is not valid.
pub fn role(text: &str) -> Result<String, ValueError> {
    check_role(text).map(|()| text.to_owned())
}

/// Checks the URL of an API endpoint.
///
/// # Errors
///
/// Fails if it is not valid.
pub fn endpoint(text: &str) -> Result<String, ValueError> {
    check_endpoint(text).map(|()| text.to_owned())
}

/// Checks the URL of an HTTP proxy.
///
/// # Errors
///
/// Fails if it is not valid.
pub fn proxy(text: &str) -> Result<String, ValueError> {
    check_proxy(text).map(|()| text.to_owned())
}

/// Checks the name or ARN of a document.
///
/// # Errors
///
/// Fails if it is not valid.
pub fn document(text: &str) -> Result<String, ValueError> {
    check_document(text).map(|()| text.to_owned())
}
