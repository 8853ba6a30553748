//! Errors of sessions in the words of the plugin: its user has no forwards, and a failed session is
//! started again by the caller.

use std::fmt::Display;

use crate::daemon::StartError;
use crate::error_class::ErrorClass;
use crate::forward::{FirstFailure, ListenError};

/// Returns the error of a session that was not taken over, with what to do about it.
pub(super) fn not_taken_over(error: &StartError) -> String {
    let hint = error.hint();
    let hint = own_hint(error.class()).unwrap_or(&hint);
    if let StartError::Forward { source, .. } = error {
        return with_hint(source, hint);
    }
    with_hint(error, hint)
}

/// Returns the error of a session that was not ready, with what to do about it.
pub(super) fn not_ready(failure: &FirstFailure) -> String {
    let hint = own_hint(failure.class).unwrap_or(&failure.hint);
    with_hint(&failure.what, hint)
}

/// Returns the error of an address that cannot be used, with what to do about it.
pub(super) fn cannot_listen(error: &ListenError) -> String {
    let hint = match error.class() == ErrorClass::ListenAddressInUse {
        true => "choose another localPortNumber",
        false => "check localPortNumber or localUnixSocket, and SSM_PLUGIN_LOCAL_HOST",
    };
    with_hint(error, hint)
}

/// Returns what a user of the AWS CLI can do about a failure, if the usual hint does not fit.
fn own_hint(class: ErrorClass) -> Option<&'static str> {
    let hints = [
        (
            &[ErrorClass::BadProfile][..],
            "choose a profile that exists (`aws configure list-profiles`), or correct the AWS files; then start the session again",
        ),
        (
            &[ErrorClass::SsoLoginRequired][..],
            "log in (`aws sso login`, `aws login`), and start the session again",
        ),
        (
            &[
                ErrorClass::NoCredentials,
                ErrorClass::CredentialsExpired,
                ErrorClass::CredentialsRejected,
            ][..],
            "log in (`aws sso login`, `aws login`), set other credentials, or choose another profile; then start the session again",
        ),
    ];
    let mut hints = hints
        .into_iter()
        .filter(|(classes, _)| classes.contains(&class));
    hints.next().map(|(_, hint)| hint)
}

fn with_hint(what: impl Display, hint: &str) -> String {
    match hint {
        "" => what.to_string(),
        hint => format!("{what}; {hint}"),
    }
}
