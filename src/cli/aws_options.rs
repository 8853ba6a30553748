//! AWS options of commands that work without a daemon.

use clap::Args;

use crate::config::{self, Account};

/// How to reach AWS. Flags win over the environment, and that over the file.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct AwsOptions {
    /// The region of the target
    #[arg(long, value_name = "REGION", value_parser = config::argument("region"))]
    pub(super) region: Option<String>,
    /// The profile in AWS's own configuration files
    #[arg(long, value_name = "PROFILE", value_parser = config::argument("profile"))]
    pub(super) profile: Option<String>,
    /// The role to assume
    #[arg(long, value_name = "ARN", value_parser = config::argument("role_arn"))]
    pub(super) role_arn: Option<String>,
}

impl AwsOptions {
    /// Returns the options as command-line arguments, for a stored command.
    pub(super) fn to_args(&self) -> Vec<String> {
        let Self {
            region,
            profile,
            role_arn,
        } = self;
        let options = [
            ("--region", region),
            ("--profile", profile),
            ("--role-arn", role_arn),
        ];
        let given = options
            .into_iter()
            .filter_map(|(name, value)| Some([name.to_owned(), value.clone()?]));
        given.flatten().collect()
    }

    /// Returns these options, completed from `account`.
    pub(super) fn or(self, account: Account) -> Account {
        Account {
            region: self.region.or(account.region),
            profile: self.profile.or(account.profile),
            role_arn: self.role_arn.or(account.role_arn),
        }
    }

    /// Returns the options as the account of a forward, which takes precedence over all other
    /// sources: a profile named on the command line wins over keys in the environment.
    pub(super) fn account(self) -> Account {
        let Self {
            region,
            profile,
            role_arn,
        } = self;
        Account {
            region,
            profile,
            role_arn,
        }
    }
}
