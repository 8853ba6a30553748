//! Why there are no credentials: each cause with what helps against it.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::error::{ConnectorError, ErrorMetadata};
use tracing::debug;

use super::files::Profiles;
use super::refusal::{find, kind_of};
use super::role::NotAssumed;
use super::settings::Settings;
use crate::session::error::{Error, Kind, sources};

/// Where credentials were looked for.
pub(super) struct Place<'a> {
    pub(super) profiles: &'a Profiles,
    /// The name of the profile that is used.
    pub(super) profile: &'a str,
    pub(super) settings: &'a Settings,
}

impl Place<'_> {
    /// Why there are no credentials, in one line.
    pub(super) fn explain(&self, error: &CredentialsError) -> Error {
        if let Some(refused) = find::<NotAssumed>(error) {
            return Error::new(ROLE, refused.kind(), refused.to_string());
        }
        let tried = self.profiles.without_aliases(&sources(error));
        if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
            debug!(tried, "no credentials");
            let why = match self.login() {
                Some(login) => format!("{}; {login}", self.settings.looked_at()),
                None => self.settings.looked_at(),
            };
            let why = self.profiles.with_problems(why);
            return Error::new(WHAT, Kind::Credentials, why);
        }
        let (kind, why) = self.cause(error, tried);
        let why = format!("{}{why}", self.of_profile());
        Error::new(WHAT, kind, self.profiles.with_problems(why))
    }

    fn cause(&self, error: &CredentialsError, tried: String) -> (Kind, String) {
        if tried.contains("credentials-login") {
            let why = format!(
                "it signs in with `aws login` (`login_session`), which this program cannot use; write `credential_process = aws configure export-credentials --profile {}` into another profile and use that",
                self.profile
            );
            return (Kind::Credentials, why);
        }
        if find::<ConnectorError>(error).is_some() {
            let service = self.service();
            return (
                Kind::Unreachable,
                format!("cannot reach {service}: {tried}"),
            );
        }
        let meta = find::<ErrorMetadata>(error);
        if let Some((code, message)) = meta.and_then(|meta| Some((meta.code()?, meta.message()))) {
            let said = format!("{} says {code}: {}", self.service(), message.unwrap_or("-"));
            let kind = match code {
                "UnauthorizedException" | "InvalidGrantException" => Kind::Credentials,
                "ForbiddenException" => Kind::Role,
                code => {
                    let kind = kind_of(code);
                    let is_own = matches!(
                        kind,
                        Kind::Throttled | Kind::ServiceFault | Kind::Credentials
                    );
                    if is_own { kind } else { Kind::Role }
                }
            };
            return match (kind, self.login()) {
                (Kind::Credentials, Some(login)) => (kind, format!("{said}; {login}")),
                _ => (kind, said),
            };
        }
        match self.login() {
            Some(login) => (Kind::Credentials, format!("{tried}; {login}")),
            None => (Kind::Credentials, tried),
        }
    }

    fn of_profile(&self) -> String {
        match self.profiles.contains(self.profile) {
            true => format!("the profile {:?}: ", self.profile),
            false => String::new(),
        }
    }

    /// The profile whose own credentials the chain begins with.
    fn base(&self) -> Option<String> {
        self.profiles.chain(self.profile).ok()?.profiles.pop()
    }

    fn has(&self, profile: &str, keys: &[&str]) -> bool {
        let mut keys = keys.iter();
        keys.any(|key| self.profiles.get(profile, key).is_some())
    }

    /// The command that logs in, if the credentials begin with a login.
    fn login(&self) -> Option<String> {
        let base = self.base()?;
        let command = if self.has(&base, &["sso_session", "sso_start_url"]) {
            "aws sso login"
        } else if self.has(&base, &["login_session"]) {
            "aws login"
        } else {
            return None;
        };
        let base = match base.contains(' ') {
            true => format!("'{base}'"),
            false => base,
        };
        Some(format!("run `{command} --profile {base}`"))
    }

    /// Who is asked for the credentials.
    fn service(&self) -> &'static str {
        let Some(base) = self.base() else {
            return "the credentials service of this machine";
        };
        let is_role = self.has(self.profile, &["role_arn"]);
        match self.has(&base, &["sso_session", "sso_start_url"]) {
            true => "IAM Identity Center (SSO)",
            false if is_role => "the security token service (STS)",
            false => "the credentials service of this machine",
        }
    }
}

const WHAT: &str = "credentials";

/// The call that assumes a role.
const ROLE: &str = "AssumeRole";
