//! Errors for missing credentials: the cause, and what the user can do.

use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::error::{ConnectorError, ErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError as AssumeRole;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError as AssumeRoleWithWebIdentity;
use aws_types::os_shim_internal::Env;
use tracing::debug;

use super::assume_role::AssumeRoleError;
use super::effect::transience_of_credentials;
use super::files::Profiles;
use super::machine::{Machine, MachineError, STS};
use super::refusal::{class_of, find, kind_of, unreached};
use super::settings::Settings;
use crate::error_class::ErrorClass;
use crate::session::error::{Error, ErrorKind, sources};

/// Where credentials were looked up.
pub(super) struct SearchedPlace<'a> {
    pub(super) profiles: &'a Profiles,
    /// The name of the selected profile.
    pub(super) profile: &'a str,
    pub(super) settings: &'a Settings,
}

impl SearchedPlace<'_> {
    /// Returns the error for missing credentials, in one line.
    pub(super) fn explain(&self, error: &CredentialsError) -> Error {
        if let Some(refused) = find::<AssumeRoleError>(error) {
            return refused.to_error(ROLE);
        }
        let tried = self.profiles.without_aliases(&sources(error));
        if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
            debug!(tried, "no credentials");
            let why = match self.login() {
                Some(login) => format!("{}; {login}", self.settings.searched_places()),
                None => self.settings.searched_places(),
            };
            let why = self.profiles.with_problems(why);
            let error = Error::new(WHAT, ErrorKind::Credentials, why);
            return match self.login() {
                Some(_) => error.with_class(ErrorClass::SsoLoginRequired),
                None => error,
            };
        }
        let class = self.class(error, &tried);
        let machine = find::<MachineError>(error).map(|of| of.machine);
        let tried = plain(&tried);
        let (kind, why) = match tried.strip_prefix(NOT_BUILT) {
            Some(why) => (ErrorKind::Profile, why.to_owned()),
            None => self.cause(error, tried, machine),
        };
        let why = match machine {
            None => format!("{}{why}", self.of_profile()),
            Some(_) => why,
        };
        let transience = transience_of_credentials(error);
        let error = Error::new(WHAT, kind, self.profiles.with_problems(why));
        let error = error.with_transience(transience);
        match class.filter(|_| kind == ErrorKind::Credentials) {
            Some(class) => error.with_class(class),
            None => error,
        }
    }

    /// Returns the class of an error of the kind `Credentials`, if it is known more exactly.
    fn class(&self, error: &CredentialsError, tried: &str) -> Option<ErrorClass> {
        if self.login().is_some() {
            return Some(ErrorClass::SsoLoginRequired);
        }
        let (code, message) = refusal(error, tried)?;
        class_of(code, message)
    }

    fn cause(
        &self,
        error: &CredentialsError,
        tried: String,
        machine: Option<Machine>,
    ) -> (ErrorKind, String) {
        let service = match machine {
            Some(machine) => machine.name(),
            None if is_of_sts(error) => STS,
            None => self.service(),
        };
        if find::<ConnectorError>(error).is_some() {
            return unreached(service, self.settings.proxy.as_ref(), &tried);
        }
        let is_of_aws = !NOT_OF_AWS.iter().any(|words| tried.contains(words));
        if !is_of_aws && !tried.contains(LOGIN_TOKEN) {
            let why = format!("{service} returned a response that is not from AWS");
            return (ErrorKind::NotAws, why);
        }
        if let Some((code, message)) = refusal(error, &tried) {
            return self.refused(service, code, message, &tried);
        }
        if let Some(path) = self.missing(error, machine) {
            let why = format!("cannot read the token in {path}: {tried}");
            return (ErrorKind::Credentials, why);
        }
        let kind = kind_of_status(&tried);
        match self.login().filter(|_| kind == ErrorKind::Credentials) {
            Some(login) => (kind, format!("{tried}; {login}")),
            None => (kind, tried),
        }
    }

    /// Returns kind and message for an error response of a service.
    fn refused(
        &self,
        service: &str,
        code: &str,
        message: &str,
        tried: &str,
    ) -> (ErrorKind, String) {
        let sent = format!("{service} returned {code}: {message}");
        let kind = match code {
            "UnauthorizedException" | "InvalidGrantException" => ErrorKind::Credentials,
            "AccessDeniedException" if tried.contains(LOGIN_TOKEN) => ErrorKind::Credentials,
            "ForbiddenException" => return (ErrorKind::Role, sent + &self.of_permission_set()),
            code => {
                let kind = kind_of(code);
                let is_own = matches!(
                    kind,
                    ErrorKind::Throttled | ErrorKind::ServiceFault | ErrorKind::Credentials
                );
                if is_own { kind } else { ErrorKind::Role }
            }
        };
        match (kind, self.login()) {
            (ErrorKind::Credentials, Some(login)) => (kind, format!("{sent}; {login}")),
            _ => (kind, sent),
        }
    }

    /// Returns the path of a token file, if reading it failed.
    fn missing(&self, error: &CredentialsError, machine: Option<Machine>) -> Option<String> {
        find::<io::Error>(error)?;
        let Some(machine) = machine else {
            let of_base = self.profiles.get(&self.base()?, "web_identity_token_file");
            return of_base.map(str::to_owned);
        };
        Env::real().get(machine.token_file()?).ok()
    }

    /// Returns the permission set and account that were requested from IAM Identity Center.
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

    /// Returns the profile whose own credentials are the start of the chain.
    fn base(&self) -> Option<String> {
        self.profiles.chain(self.profile).ok()?.profiles.pop()
    }

    fn has(&self, profile: &str, keys: &[&str]) -> bool {
        let mut keys = keys.iter();
        keys.any(|key| self.profiles.get(profile, key).is_some())
    }

    /// Returns the command to log in, if the chain starts with a login.
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

    /// Returns the name of the service that provides the credentials.
    fn service(&self) -> &'static str {
        let Some(base) = self.base() else {
            return "the credentials service of this machine";
        };
        let is_role = self.has(self.profile, &["role_arn"]);
        match self.has(&base, &["sso_session", "sso_start_url"]) {
            true => "IAM Identity Center (SSO)",
            false if self.has(&base, &["login_session"]) && !is_role => "AWS Sign-In",
            false if is_role => STS,
            false => "the credentials service of this machine",
        }
    }
}

/// Returns whether a call of STS has failed, and not that of a login before it.
fn is_of_sts(error: &CredentialsError) -> bool {
    find::<SdkError<AssumeRole, HttpResponse>>(error).is_some()
        || find::<SdkError<AssumeRoleWithWebIdentity, HttpResponse>>(error).is_some()
}

/// Returns code and message of an error response. Some services have SDK errors without metadata;
/// their text is `CODE: MESSAGE`.
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

/// Error codes of the services behind logins.
const OF_LOGINS: [&str; 7] = [
    "UnauthorizedException",
    "ForbiddenException",
    "AccessDeniedException",
    "InvalidGrantException",
    "ResourceNotFoundException",
    "TooManyRequestsException",
    "InternalServerException",
];

/// Removes Rust debug output from a message of the SDK.
fn plain(text: &str) -> String {
    let text = match text.find(" {") {
        Some(end) => {
            let begin = text[..end].rfind(' ').map_or(0, |blank| blank + 1);
            let is_type = text[begin..].starts_with(|c: char| c.is_ascii_uppercase());
            let text = if is_type { &text[..begin] } else { text };
            text.trim_end_matches([' ', '.', ':'])
        }
        None => text,
    };
    let text = text.replace(STATUS, "error response (code: ");
    text.replace("StatusCode(", "(")
}

/// The SDK's message for an HTTP status of a container's credentials endpoint.
const STATUS: &str = "Non-success status from HTTP credential provider: StatusCode(";

/// Classifies the HTTP status in a message of the SDK.
fn kind_of_status(text: &str) -> ErrorKind {
    let status = text.split_once("(code: ");
    let status = status.and_then(|(_, rest)| rest.split_once(')'));
    match status.map(|(status, _)| status.parse::<u16>()) {
        Some(Ok(429)) => ErrorKind::Throttled,
        Some(Ok(500..)) => ErrorKind::ServiceFault,
        _ => ErrorKind::Credentials,
    }
}

/// The SDK's messages for a response that is not JSON or XML.
const NOT_OF_AWS: [&str; 2] = ["Error at offset", "error parsing XML"];

/// The SDK's message for a profile that lacks a key, or has too many.
const NOT_BUILT: &str = "ProfileFile provider could not be built: ";

/// The SDK's name for a token of `aws login` in its errors.
const LOGIN_TOKEN: &str = "Login token";

const WHAT: &str = "credentials";

/// The call that assumes a role.
const ROLE: &str = "AssumeRole";
