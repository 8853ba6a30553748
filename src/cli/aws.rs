//! Options that say how to reach AWS, for commands that work without a daemon.

use clap::Args;

use crate::config;

/// How to reach AWS. Flags win over the environment, and that over the file.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct AwsOptions {
    /// The region of the target
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,
    /// The profile in AWS's own configuration files
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Option<String>,
}

impl AwsOptions {
    /// Overrules what was written elsewhere.
    pub(super) fn overrule(self, aws: &mut config::Aws) {
        let Self { region, profile } = self;
        if region.is_some() {
            aws.region = region;
        }
        if profile.is_some() {
            aws.profile = profile;
        }
    }
}
