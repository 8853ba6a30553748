//! Single values that are given on a command line, held to what a file is held to.

use crate::config::check::address::{check_endpoint, check_proxy};
use crate::config::check::identifiers::{check_document, check_profile, check_region, check_role};
use crate::config::diagnostic::ValueError;

/// A region.
///
/// # Errors
///
/// If it cannot be one.
pub fn region(text: &str) -> Result<String, ValueError> {
    check_region(text).map(|()| text.to_owned())
}

/// The name of a profile in AWS's own files.
///
/// # Errors
///
/// If it cannot be one.
pub fn profile(text: &str) -> Result<String, ValueError> {
    check_profile(text).map(|()| text.to_owned())
}

/// The ARN of a role.
///
/// # Errors
///
/// If it cannot be one.
pub fn role(text: &str) -> Result<String, ValueError> {
    check_role(text).map(|()| text.to_owned())
}

/// The URL of an API endpoint.
///
/// # Errors
///
/// If it cannot be one.
pub fn endpoint(text: &str) -> Result<String, ValueError> {
    check_endpoint(text).map(|()| text.to_owned())
}

/// The URL of an HTTP proxy.
///
/// # Errors
///
/// If it cannot be one.
pub fn proxy(text: &str) -> Result<String, ValueError> {
    check_proxy(text).map(|()| text.to_owned())
}

/// The name or ARN of a document.
///
/// # Errors
///
/// If it cannot be one.
pub fn document(text: &str) -> Result<String, ValueError> {
    check_document(text).map(|()| text.to_owned())
}
