//! Errors of sessions: their class, recovery and hint.

use crate::printable::Printable;

/// A session that could not be started, resumed or connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// The failed call, as shown to the user.
    what: &'static str,
    why: Printable,
    kind: ErrorKind,
    effect: Effect,
    transience: Transience,
}

impl Error {
    /// Creates an error. `what` is the call, `why` the message of AWS or a library, without
    /// secrets.
    pub(super) fn new(what: &'static str, kind: ErrorKind, why: impl AsRef<str>) -> Self {
        Self {
            what,
            why: one_line(why.as_ref()),
            kind,
            effect: Effect::NotSent,
            transience: Transience::None,
        }
    }

    /// Appends text to the message.
    pub(super) fn with_suffix(self, words: impl AsRef<str>) -> Self {
        let why = one_line(&format!("{}{}", self.why.as_str(), words.as_ref()));
        Self { why, ..self }
    }

    /// Sets whether the same call may succeed shortly.
    pub(super) fn with_transience(self, transience: Transience) -> Self {
        Self { transience, ..self }
    }

    /// Returns whether the same call may succeed shortly.
    pub(super) fn transience(&self) -> Transience {
        self.transience
    }

    /// Sets whether the failed call reached AWS.
    pub(super) fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// Returns whether the failed call reached AWS.
    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    /// Merges the errors of several nodes, none of which is connected.
    pub(super) fn all(mut errors: Vec<Self>) -> Self {
        if errors.len() == 1 {
            return errors.remove(0);
        }
        let errors: Vec<_> = errors.iter().map(|error| error.why.as_str()).collect();
        let why = format!("no target is connected: {}", errors.join("; "));
        Self::new("StartSession", ErrorKind::TargetNotConnected, why)
    }

    /// Returns the class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns what the caller should do about it.
    pub fn recovery(&self) -> Recovery {
        match self.kind {
            ErrorKind::Throttled
            | ErrorKind::Unreachable
            | ErrorKind::Proxy
            | ErrorKind::ServiceFault
            | ErrorKind::Internal
            | ErrorKind::Shortage
            | ErrorKind::Credentials
            | ErrorKind::Profile => Recovery::Retry,
            ErrorKind::SessionEnded => Recovery::Reopen,
            ErrorKind::TargetNotConnected
            | ErrorKind::Document
            | ErrorKind::Denied
            | ErrorKind::Invalid
            | ErrorKind::InvalidEndpoint
            | ErrorKind::NotAws
            | ErrorKind::Role
            | ErrorKind::Region => Recovery::GiveUp,
        }
    }

    /// Returns whether the error lasts until the user or operator does something.
    pub fn needs_a_person(&self) -> bool {
        let waits = matches!(
            self.kind,
            ErrorKind::Credentials | ErrorKind::Profile | ErrorKind::Proxy
        );
        waits || self.recovery() == Recovery::GiveUp
    }

    /// Returns what the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            ErrorKind::TargetNotConnected if self.what == DESCRIBE => {
                "check the tags, the region and the account; `aws ssm describe-instance-information` lists the managed nodes"
            }
            ErrorKind::TargetNotConnected => {
                "check that the target is running, that its SSM agent is online, and that region and account are correct (`connect i-….REGION` uses another region)"
            }
            ErrorKind::Document => {
                "check `document`: it must exist in this region and account, and accept these parameters"
            }
            ErrorKind::Denied if self.what == DESCRIBE => {
                "to find a target by its tags, the caller needs ssm:DescribeInstanceInformation, on \"*\""
            }
            ErrorKind::Denied => {
                "the caller needs ssm:StartSession on the target and on the document, ssm:TerminateSession and ssm:ResumeSession on its own sessions, and ssmmessages:OpenDataChannel"
            }
            ErrorKind::Throttled => {
                "AWS limits the rate of this call; try again in a moment, and open fewer connections at once"
            }
            ErrorKind::Credentials => {
                "log in (`aws sso login`, `aws login`), set credentials, or choose another `profile`; they are read again"
            }
            ErrorKind::Unreachable => {
                "check the network, DNS and `ssm_endpoint`; if TLS is intercepted, set `ca_bundle`"
            }
            ErrorKind::Proxy => {
                "check `proxy` in [aws], or HTTPS_PROXY: host, port, user and password; the proxy must allow CONNECT to AWS, and NO_PROXY lists the hosts that bypass it"
            }
            ErrorKind::Internal => "this is a bug: please report it with the preceding log lines",
            ErrorKind::Shortage => {
                "raise the limit of open files (`ulimit -n`, `LimitNOFILE=` in a systemd unit) or of memory, or lower `max_connections`"
            }
            ErrorKind::ServiceFault => "internal error of the AWS service; try again",
            ErrorKind::SessionEnded => {
                "the session has ended; a new connection starts a new session"
            }
            ErrorKind::Invalid if self.what == DESCRIBE => {
                "check the tags of `target`; AWS allows every character in tags of EC2, and letters, digits, spaces and `_.:/=+-@` elsewhere"
            }
            ErrorKind::Invalid => {
                "check `target`, `remote`, `document` and `parameters` of this forward"
            }
            ErrorKind::InvalidEndpoint => {
                "check `region`, `ssm_endpoint` and `ssmmessages_endpoint`, AWS_ENDPOINT_URL_SSM and the profile's `endpoint_url`: each must be an endpoint of this region with TLS, or a loopback address"
            }
            ErrorKind::NotAws => {
                "the response is not from AWS: check for an intercepting proxy, a captive portal, or a wrong `ssm_endpoint`"
            }
            ErrorKind::Role => {
                "the caller needs sts:AssumeRole on `role_arn`, and the role's trust policy must name the caller; with SSO, the permission set must be assigned"
            }
            ErrorKind::Profile if self.what == PROFILE_BUNDLE => {
                "correct `ca_bundle` of this profile or its file, or set `ca_bundle` in [aws], which is used for every profile"
            }
            ErrorKind::Profile => {
                "choose a `profile` that exists (`aws configure list-profiles`), or correct the AWS files; they are read again at the next connection"
            }
            ErrorKind::Region => {
                "set `region` in [aws] or in the forward, set AWS_REGION, or choose a `profile` that has one"
            }
        }
    }
}

/// Classes of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The target is unknown, offline, or in another account or region.
    TargetNotConnected,
    /// The document does not exist, or does not take these parameters.
    Document,
    /// The caller lacks a permission.
    Denied,
    /// Too many calls.
    Throttled,
    /// There are no credentials, or they have expired.
    Credentials,
    /// AWS was not reached: DNS, routing, TLS or timeout.
    Unreachable,
    /// This process or machine has no file descriptor or memory left for the call.
    Shortage,
    /// The proxy did not open the tunnel.
    Proxy,
    /// AWS reported an internal error, or its response is invalid.
    ServiceFault,
    /// A panic in this program or in a library.
    Internal,
    /// The session has ended and cannot be resumed.
    SessionEnded,
    /// AWS rejected the request as invalid.
    Invalid,
    /// An endpoint that is not allowed: unencrypted, or of another region.
    InvalidEndpoint,
    /// The response did not come from the AWS API.
    NotAws,
    /// The role could not be assumed.
    Role,
    /// A profile does not exist, or the AWS configuration files lack what it needs.
    Profile,
    /// No region is configured.
    Region,
}

impl ErrorKind {
    /// Returns the name of the class in logs and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TargetNotConnected => "TargetNotConnected",
            Self::Document => "InvalidDocument",
            Self::Denied => "AccessDenied",
            Self::Throttled => "Throttled",
            Self::Credentials => "NoCredentials",
            Self::Unreachable => "Unreachable",
            Self::Shortage => "OutOfResources",
            Self::Proxy => "ProxyRefused",
            Self::ServiceFault => "ServiceFault",
            Self::Internal => "InternalError",
            Self::SessionEnded => "SessionEnded",
            Self::Invalid => "InvalidRequest",
            Self::InvalidEndpoint => "BadEndpoint",
            Self::NotAws => "NotTheApi",
            Self::Role => "RoleNotAssumed",
            Self::Profile => "BadProfile",
            Self::Region => "NoRegion",
        }
    }
}

/// Whether a failed call reached AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// AWS has not received it.
    NotSent,
    /// AWS answered it.
    Answered,
    /// It was sent, and AWS may have carried it out.
    Unknown,
}

/// Whether a failed call may succeed shortly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transience {
    /// Unknown.
    None,
    /// AWS answered 500 or 503: it may have carried out the call.
    Fault,
    /// AWS was not reached: DNS failure, connection refused or reset.
    Unreached,
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Retry after a pause.
    Retry,
    /// Open a new session; the streams of this one are lost.
    Reopen,
    /// Give up: the error lasts until the user or operator does something.
    GiveUp,
}

/// The `what` of an error with the certificates of a profile.
pub(super) const PROFILE_BUNDLE: &str = "`ca_bundle` of a profile";

/// Returns the messages of an error and its sources, without repetitions and generic messages.
pub(super) fn sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let sent = error.to_string();
        let is_new = !words.iter().any(|word| word.contains(&sent));
        if is_new && !GENERIC_MESSAGES.contains(&sent.as_str()) {
            words.push(sent);
        }
        next = error.source();
    }
    words.join(": ")
}

/// Replaces each run of white space by one space, so that the text is one line.
fn one_line(text: &str) -> Printable {
    let words = text.split(|c: char| c.is_ascii_whitespace());
    // Longer text is cut off in any case.
    let words = words.filter(|word| !word.is_empty()).take(Printable::MAX);
    words.collect::<Vec<_>>().join(" ").into()
}

/// The call that finds nodes by their tags.
pub(super) const DESCRIBE: &str = "DescribeInstanceInformation";

/// Generic messages that the SDK and its HTTP client add at each level of an error.
const GENERIC_MESSAGES: [&str; 10] = [
    "unexpected credentials error",
    "unhandled error",
    "an error occurred while loading credentials",
    "the credentials provider was not properly configured",
    "an error occurred while loading an access token",
    "service error",
    "dispatch failure",
    "io error",
    "other",
    "client error (Connect)",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let error = Error::new(
            "call",
            ErrorKind::Invalid,
            "one:\n  two\u{1b}[2J\r\nthree\n",
        );

        assert_eq!(error.to_string(), "call: one: two\u{fffd}[2J three");
    }

    #[test]
    fn generic_messages_of_sources_are_left_out() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Layer(&'static str, #[source] Option<Box<Self>>);
        let words = [
            "dispatch failure",
            "io error",
            "tcp: refused",
            "refused",
            "why",
        ];
        let layers = words.into_iter().rev();

        let top = layers.fold(None, |source, word| Some(Box::new(Layer(word, source))));

        assert_eq!(sources(&top.unwrap()), "tcp: refused: why");
    }
}
