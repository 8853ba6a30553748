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
        if find::<ConnectorError>(error).is_some() {
            let service = self.service();
            return (
                Kind::Unreachable,
                format!("cannot reach {service}: {tried}"),
            );
        }
        if tried.contains(NOT_JSON) && !tried.contains(LOGIN_TOKEN) {
            let why = format!("{} answered something that is not of AWS", self.service());
            return (Kind::Stranger, why);
        }
        if let Some((code, message)) = refusal(error, &tried) {
            let said = format!("{} says {code}: {message}", self.service());
            let kind = match code {
                "UnauthorizedException" | "InvalidGrantException" => Kind::Credentials,
                "AccessDeniedException" if tried.contains(LOGIN_TOKEN) => Kind::Credentials,
                "ForbiddenException" => return (Kind::Role, said + &self.of_permission_set()),
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

    /// What the portal of IAM Identity Center was asked for.
    fn of_permission_set(&self) -> String {
        let value = |key| {
            let base = self.base()?;
            self.profiles.get(&base, key).map(str::to_owned)
        };
        match (value("sso_role_name"), value("sso_account_id")) {
            (Some(role), Some(account)) => {
                format!("; the login has no permission set {role:?} in the account {account:?}")
            }
            _ => String::new(),
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
            false if self.has(&base, &["login_session"]) && !is_role => "AWS Sign-In",
            false if is_role => "the security token service (STS)",
            false => "the credentials service of this machine",
        }
    }
}

/// The code and the message of a service that refused. The SDK has errors of their own for some, which
/// have no metadata; their text is `CODE: MESSAGE`.
fn refusal<'a>(error: &'a CredentialsError, tried: &'a str) -> Option<(&'a str, &'a str)> {
    let meta = find::<ErrorMetadata>(error);
    let of_meta = meta.and_then(|meta| Some((meta.code()?, meta.message().unwrap_or("-"))));
    of_meta.or_else(|| {
        let mut found = OF_LOGINS.iter().filter_map(|code| {
            let (_, rest) = tried.split_once(code)?;
            Some((*code, rest.trim_start_matches(": ")))
        });
        found.next()
    })
}

/// The errors of the services behind logins.
const OF_LOGINS: [&str; 7] = [
    "UnauthorizedException",
    "ForbiddenException",
    "AccessDeniedException",
    "InvalidGrantException",
    "ResourceNotFoundException",
    "TooManyRequestsException",
    "InternalServerException",
];

/// How the SDK begins an error about an answer that is no JSON.
const NOT_JSON: &str = "Error at offset";

/// What the SDK calls a token of `aws login`, in each of its errors about one.
const LOGIN_TOKEN: &str = "Login token";

const WHAT: &str = "credentials";

/// The call that assumes a role.
const ROLE: &str = "AssumeRole";
