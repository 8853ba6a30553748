//! What is shown of the AWS credentials of a forward: no secrets.

use std::time::SystemTime;

use super::aws_clients::AwsClients;
use crate::clock;
use crate::config;
use crate::printable::Printable;
use crate::telemetry::CredentialsReport;

/// Returns the credentials of a forward, once they were requested.
pub(super) fn report(aws: &AwsClients, forward: &config::Forward) -> Option<CredentialsReport> {
    let (ssm, settings) = aws.client(&forward.account)?;
    let info = ssm.credentials()?;
    let left = |at: SystemTime| at.duration_since(clock::wall()).unwrap_or_default();
    Some(CredentialsReport {
        profile: settings.profile.as_deref().map(Printable::new),
        role_arn: settings.role_arn.as_deref().map(Printable::new),
        account: info.account,
        expires_seconds: info.expiry.map(|at| left(at).as_secs()),
    })
}

/// Returns when the first of the credentials of a forward expire, if they are known and do.
pub(super) fn expiry(aws: &AwsClients, forward: &config::Forward) -> Option<SystemTime> {
    let accounts = forward.accounts().into_iter();
    let expiry = accounts.filter_map(|account| aws.client(&account)?.0.credentials()?.expiry);
    expiry.min()
}
