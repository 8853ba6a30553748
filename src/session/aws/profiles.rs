//! Changes to the AWS profiles for the SDK, as a second text after that of the user's files.
//!
//! The SDK's own behaviour has three problems. A role without `role_session_name` gets a new name
//! at each call, so that two calls come from two role sessions. A `credential_process` that hangs
//! cannot be stopped. A refreshed SSO token that cannot be written is discarded. The second text
//! therefore sets the role session names, and replaces each process and each `sso_session` by a
//! credential source of this program. The user's files are not changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::SESSION_NAME;
use super::files::Profiles;
use super::process::Process;
use super::sso::Login;

/// Changes to the profiles.
#[derive(Debug, Default)]
pub(super) struct ProfileChanges {
    /// The text to add after that of the files.
    pub(super) text: String,
    /// The credential sources in `text` that run a process.
    pub(super) processes: Vec<(String, Process)>,
    /// The credential sources in `text` for logins of IAM Identity Center.
    pub(super) logins: Vec<(String, Login)>,
    /// By profile with its own role that needs an MFA code: the profile whose credentials assume
    /// that role.
    pub(super) bases: BTreeMap<String, String>,
}

impl ProfileChanges {
    /// Returns the changes for these profiles.
    pub(super) fn to(profiles: &Profiles) -> Self {
        let mut changes = Self::default();
        for name in profiles.names() {
            changes.add(profiles, name);
        }
        changes
    }

    fn add(&mut self, profiles: &Profiles, name: &str) {
        let get = |key| profiles.get(name, key);
        let is_role = get("role_arn").is_some();
        let mut lines = Vec::new();
        if is_role && get("role_session_name").is_none() {
            lines.push(format!("role_session_name = {SESSION_NAME}"));
        }
        let process = get("credential_process").filter(|_| runs(profiles, name));
        let source = process.map(|command| {
            let source = format!("ssm-proxyd-process-{}", self.processes.len());
            let account = get("aws_account_id").map(str::to_owned);
            let process = Process::new(command.to_owned(), account);
            self.processes.push((source.clone(), process));
            source
        });
        let source = source.or_else(|| {
            let source = format!("ssm-proxyd-sso-{}", self.logins.len());
            self.logins.push((source.clone(), login(profiles, name)?));
            Some(source)
        });
        match source {
            // A profile that is its own source must not have a second one.
            Some(source) if is_role => {
                lines.push(format!("source_profile = {source}"));
                self.section(&source, &[format!("credential_source = {source}")]);
                self.bases.insert(name.to_owned(), source);
            }
            Some(source) => lines.push(format!("credential_source = {source}")),
            None if is_role && get("mfa_serial").is_some() => self.add_base(profiles, name),
            None => {}
        }
        if !lines.is_empty() {
            self.section(&Profiles::alias(name), &lines);
        }
    }

    /// Adds a profile with the credential settings of this one, without its role.
    fn add_base(&mut self, profiles: &Profiles, name: &str) {
        let get = |key| profiles.get(name, key);
        let is_own_source = get("source_profile") == Some(name);
        let keys = match get("credential_source") {
            Some(_) => &["credential_source"][..],
            None if is_own_source => &LOGIN_KEYS,
            None => return,
        };
        let values = keys.iter().filter_map(|key| Some((key, get(key)?)));
        let lines: Vec<_> = values
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        if !lines.is_empty() {
            let base = format!("ssm-proxyd-base-{}", self.bases.len());
            self.section(&base, &lines);
            self.bases.insert(name.to_owned(), base);
        }
    }

    fn section(&mut self, name: &str, lines: &[String]) {
        // Writing to a string does not fail.
        let _infallible = writeln!(self.text, "[profile {name}]\n{}", lines.join("\n"));
    }
}

/// Keys of a login that is not replaced by a credential source of this program.
const LOGIN_KEYS: [&str; 5] = [
    "login_session",
    "sso_account_id",
    "sso_region",
    "sso_role_name",
    "sso_start_url",
];

/// Returns whether the SDK would run the `credential_process` of this profile: other sources have
/// priority.
fn runs(profiles: &Profiles, name: &str) -> bool {
    let get = |key| profiles.get(name, key);
    let is_role = get("role_arn").is_some();
    let is_web_identity = is_role && get("web_identity_token_file").is_some();
    let is_own_source = get("source_profile") == Some(name);
    let comes_first = [
        "credential_source",
        "sso_account_id",
        "sso_region",
        "sso_role_name",
        "sso_start_url",
        "sso_session",
        "login_session",
    ];
    !is_web_identity
        && (!is_role || is_own_source)
        && comes_first.iter().all(|key| get(key).is_none())
}

/// Returns the login of a profile, if the SDK would use it and it is complete. Missing settings are
/// reported by the SDK.
fn login(profiles: &Profiles, name: &str) -> Option<Login> {
    let get = |key| profiles.get(name, key);
    let is_role = get("role_arn").is_some();
    let comes_first = [
        "credential_source",
        "web_identity_token_file",
        "login_session",
    ];
    if is_role && get("source_profile") != Some(name)
        || comes_first.iter().any(|key| get(key).is_some())
    {
        return None;
    }
    let session = get("sso_session")?;
    let of_session = |key| profiles.get_of_session(session, key);
    // The SDK rejects a profile that contradicts its session.
    let agrees = |key| get(key).is_none_or(|own| of_session(key) == Some(own));
    of_session("sso_start_url").filter(|_| agrees("sso_start_url") && agrees("sso_region"))?;
    Some(Login {
        session: session.to_owned(),
        region: of_session("sso_region")?.to_owned(),
        account: get("sso_account_id")?.to_owned(),
        role: get("sso_role_name")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn changes(text: &str) -> ProfileChanges {
        let mut profiles = Profiles::default();
        profiles.add_config(Path::new("config"), text);
        ProfileChanges::to(&profiles)
    }

    #[test]
    fn a_role_without_a_session_name_gets_one() {
        let text = "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = s\n\
                    role_session_name = mine\nsource_profile = c\n[profile c]\nregion = x\n\
                    [profile w]\nrole_arn = r\nweb_identity_token_file = /t\n";

        let changes = changes(text);

        let expected = "[profile a]\nrole_session_name = ssm-proxyd\n\
                        [profile w]\nrole_session_name = ssm-proxyd\n";
        assert_eq!(changes.text, expected);
    }

    #[test]
    fn a_process_is_run_by_a_source_of_our_own() {
        let text = "[default]\ncredential_process = one\n\
                    [profile own]\nrole_arn = r\nsource_profile = own\ncredential_process = two\n\
                    [profile sso]\nsso_session = s\ncredential_process = not-run\n";

        let changes = changes(text);

        let expected = "[profile default]\ncredential_source = ssm-proxyd-process-0\n\
                        [profile ssm-proxyd-process-1]\ncredential_source = ssm-proxyd-process-1\n\
                        [profile own]\nrole_session_name = ssm-proxyd\n\
                        source_profile = ssm-proxyd-process-1\n";
        assert_eq!(changes.text, expected);
        assert_eq!(changes.processes.len(), 2);
    }

    #[test]
    fn a_role_of_its_own_that_needs_a_code_has_a_base_without_the_role() {
        let text = "[profile machine]\nrole_arn = r\nrole_session_name = n\nmfa_serial = m\n\
                    credential_source = EcsContainer\n\
                    [profile login]\nrole_arn = r\nrole_session_name = n\nmfa_serial = m\n\
                    source_profile = login\nlogin_session = l\n\
                    [profile process]\nrole_arn = r\nrole_session_name = n\nmfa_serial = m\n\
                    source_profile = process\ncredential_process = p\n\
                    [profile keys]\nrole_arn = r\nrole_session_name = n\nmfa_serial = m\n\
                    source_profile = keys\naws_access_key_id = k\n";

        let changes = changes(text);

        let expected = "[profile ssm-proxyd-base-0]\nlogin_session = l\n\
                        [profile ssm-proxyd-base-1]\ncredential_source = EcsContainer\n\
                        [profile ssm-proxyd-process-0]\ncredential_source = ssm-proxyd-process-0\n\
                        [profile process]\nsource_profile = ssm-proxyd-process-0\n";
        assert_eq!(changes.text, expected);
        let bases = [
            ("login", "ssm-proxyd-base-0"),
            ("machine", "ssm-proxyd-base-1"),
            ("process", "ssm-proxyd-process-0"),
        ];
        let bases = bases.map(|(name, base)| (name.to_owned(), base.to_owned()));
        assert_eq!(changes.bases, bases.into());
    }

    #[test]
    fn an_sso_session_is_replaced_if_nothing_is_missing() {
        let session = "[sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://x\n";
        let profile = "[profile a]\nsso_session = s\nsso_account_id = 1\n";

        let complete = changes(&format!("{session}{profile}sso_role_name = r\n"));
        let without_role = changes(&format!("{session}{profile}"));

        let expected = "[profile a]\ncredential_source = ssm-proxyd-sso-0\n";
        assert_eq!(complete.text, expected);
        assert_eq!(complete.logins.len(), 1);
        assert_eq!(without_role.text, "");
    }
}
