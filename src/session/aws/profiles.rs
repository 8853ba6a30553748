//! Changes to AWS's profiles before the SDK acts on them, as a third file behind the user's two.
//!
//! The SDK gives a role without `role_session_name` a new name at each call, so that two calls are
//! made by two role sessions; and it cannot stop a `credential_process` that hangs. The third file
//! names the role sessions and replaces each process by a source of credentials of our own. The
//! user's files are not changed.

use std::fmt::Write as _;

use aws_config::profile::{Profile, ProfileSet};

use super::process::Process;
use super::source::SESSION_NAME;

/// The changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The text of the third file.
    pub(super) text: String,
    /// The sources that it names.
    pub(super) processes: Vec<(String, Process)>,
}

impl Changes {
    /// The changes that these profiles need.
    pub(super) fn to(profiles: &ProfileSet) -> Self {
        let mut changes = Self::default();
        let mut names: Vec<_> = profiles.profiles().collect();
        names.sort_unstable();
        for profile in names.iter().filter_map(|name| profiles.get_profile(name)) {
            changes.add(profile);
        }
        changes
    }

    fn add(&mut self, profile: &Profile) {
        let mut lines = Vec::new();
        if has(profile, "role_arn") && !has(profile, "role_session_name") {
            lines.push(format!("role_session_name = {SESSION_NAME}"));
        }
        let process = profile.get("credential_process").filter(|_| runs(profile));
        let source = process.map(|command| {
            let source = format!("ssm-proxyd-process-{}", self.processes.len());
            let account = profile.get("aws_account_id").map(str::to_owned);
            let process = Process::new(command.to_owned(), account);
            self.processes.push((source.clone(), process));
            source
        });
        match source {
            // A profile that is its own source must not have two.
            Some(source) if has(profile, "role_arn") => {
                lines.push(format!("source_profile = {source}"));
                self.section(&source, &[format!("credential_source = {source}")]);
            }
            Some(source) => lines.push(format!("credential_source = {source}")),
            None => {}
        }
        if !lines.is_empty() {
            self.section(profile.name(), &lines);
        }
    }

    fn section(&mut self, name: &str, lines: &[String]) {
        // Writing to a string does not fail.
        let _infallible = writeln!(self.text, "[profile {name}]\n{}", lines.join("\n"));
    }
}

/// Whether the SDK would run the `credential_process` of this profile: other ways come first.
fn runs(profile: &Profile) -> bool {
    let role = has(profile, "role_arn");
    let web = role && profile.get("web_identity_token_file").is_some();
    let is_own_source = profile.get("source_profile") == Some(profile.name());
    let comes_first = [
        "credential_source",
        "sso_account_id",
        "sso_region",
        "sso_role_name",
        "sso_start_url",
        "sso_session",
        "login_session",
    ];
    !web && (!role || is_own_source) && comes_first.iter().all(|key| profile.get(key).is_none())
}

fn has(profile: &Profile, key: &str) -> bool {
    profile.get(key).is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
#[expect(
    deprecated,
    reason = "the other names of these types are in a crate that is for generated code"
)]
mod tests {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    use aws_types::os_shim_internal::{Env, Fs};

    use super::*;

    async fn changes(text: &str) -> Changes {
        let files = ProfileFiles::builder()
            .with_contents(ProfileFileKind::Config, text)
            .build();
        let (fs, env) = (Fs::real(), Env::real());
        let profiles = aws_config::profile::load(&fs, &env, &files, None).await;
        Changes::to(&profiles.unwrap())
    }

    #[tokio::test]
    async fn a_role_without_a_session_name_gets_one() {
        let text = "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = s\n\
                    role_session_name = mine\nsource_profile = c\n[profile c]\nregion = x\n\
                    [profile w]\nrole_arn = r\nweb_identity_token_file = /t\n";

        let changes = changes(text).await;

        let expected = "[profile a]\nrole_session_name = ssm-proxyd\n\
                        [profile w]\nrole_session_name = ssm-proxyd\n";
        assert_eq!(changes.text, expected);
    }

    #[tokio::test]
    async fn a_process_is_run_by_a_source_of_our_own() {
        let text = "[default]\ncredential_process = one\n\
                    [profile own]\nrole_arn = r\nsource_profile = own\ncredential_process = two\n\
                    [profile sso]\nsso_session = s\ncredential_process = not-run\n";

        let changes = changes(text).await;

        let expected = "[profile default]\ncredential_source = ssm-proxyd-process-0\n\
                        [profile ssm-proxyd-process-1]\ncredential_source = ssm-proxyd-process-1\n\
                        [profile own]\nrole_session_name = ssm-proxyd\n\
                        source_profile = ssm-proxyd-process-1\n";
        assert_eq!(changes.text, expected);
        assert_eq!(changes.processes.len(), 2);
    }
}
