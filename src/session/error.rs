//! What went wrong with a session, and what to do about it.

use crate::printable::Printable;

/// A session that could not be started, resumed or dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// The call that failed, as a person knows it.
    what: &'static str,
    why: Printable,
    kind: Kind,
    effect: Effect,
    transience: Transience,
}

impl Error {
    /// `what` is the call, `why` the service's or the library's words, without secrets.
    pub(super) fn new(what: &'static str, kind: Kind, why: impl AsRef<str>) -> Self {
        Self {
            what,
            why: one_line(why.as_ref()),
            kind,
            effect: Effect::NotSent,
            transience: Transience::None,
        }
    }

    /// The same, with more behind it.
    pub(super) fn with_words(self, words: impl AsRef<str>) -> Self {
        let why = one_line(&format!("{}{}", self.why.as_str(), words.as_ref()));
        Self { why, ..self }
    }

    /// The same, of a call that may succeed in a moment.
    pub(super) fn with_transience(self, transience: Transience) -> Self {
        Self { transience, ..self }
    }

    /// Whether the same call may succeed in a moment.
    pub(super) fn transience(&self) -> Transience {
        self.transience
    }

    /// The same, of a call that may have reached the service.
    pub(super) fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// Whether the call that failed reached the service.
    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    /// One for several nodes, none of which is connected.
    pub(super) fn all(mut errors: Vec<Self>) -> Self {
        if errors.len() == 1 {
            return errors.remove(0);
        }
        let errors: Vec<_> = errors.iter().map(|error| error.why.as_str()).collect();
        let why = format!("no target is connected: {}", errors.join("; "));
        Self::new("StartSession", Kind::TargetNotConnected, why)
    }

    /// Which of the few classes it belongs to.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What its caller should do about it.
    pub fn recovery(&self) -> Recovery {
        match self.kind {
            Kind::Throttled
            | Kind::Unreachable
            | Kind::Proxy
            | Kind::ServiceFault
            | Kind::Internal
            | Kind::Shortage
            | Kind::Credentials
            | Kind::Profile => Recovery::Retry,
            Kind::Ended => Recovery::Reopen,
            Kind::TargetNotConnected
            | Kind::Document
            | Kind::Denied
            | Kind::Invalid
            | Kind::Endpoint
            | Kind::Stranger
            | Kind::Role
            | Kind::Region => Recovery::GiveUp,
        }
    }

    /// Whether it lasts until a person does something.
    pub fn needs_a_person(&self) -> bool {
        let waits = matches!(self.kind, Kind::Credentials | Kind::Profile | Kind::Proxy);
        waits || self.recovery() == Recovery::GiveUp
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            Kind::TargetNotConnected if self.what == DESCRIBE => {
                "check the tags, and that region and account are the right ones; `aws ssm describe-instance-information` lists the nodes that the service knows"
            }
            Kind::TargetNotConnected => {
                "check that the target runs, that its SSM agent is online, and that region and account are the right ones (`connect i-….REGION` looks in another region)"
            }
            Kind::Document => {
                "check `document`: it must exist in this region and account, and take these parameters"
            }
            Kind::Denied if self.what == DESCRIBE => {
                "to find a target by its tags, the caller needs ssm:DescribeInstanceInformation, on \"*\""
            }
            Kind::Denied => {
                "the caller needs ssm:StartSession on the target and on the document, ssm:TerminateSession and ssm:ResumeSession on its own sessions, and ssmmessages:OpenDataChannel"
            }
            Kind::Throttled => {
                "AWS limits the rate of this call; try again in a moment, and open fewer connections at once"
            }
            Kind::Credentials => {
                "log in (`aws sso login`, `aws login`), set credentials, or choose another `profile`; they are looked for anew"
            }
            Kind::Unreachable => {
                "check the network, the name service and `ssm_endpoint`; where TLS is intercepted, `ca_bundle`"
            }
            Kind::Proxy => {
                "check `proxy` in [aws], or HTTPS_PROXY: host, port, user and password; the proxy must allow CONNECT to AWS, and NO_PROXY names hosts that are reached without it"
            }
            Kind::Internal => {
                "check the values in the environment, in AWS's files and in [aws] for odd characters; if they are right, this is a bug: please report it with the lines before"
            }
            Kind::Shortage => {
                "raise the limit of open files (`ulimit -n`, `LimitNOFILE=` in a systemd unit) or of memory, or lower `max_connections`"
            }
            Kind::ServiceFault => "the service had an error of its own; try again",
            Kind::Ended => "the session is over; a new connection gets a new one",
            Kind::Invalid => "check `target`, `remote` and `document` of this forward",
            Kind::Endpoint => {
                "check `region`, `ssm_endpoint` and `ssmmessages_endpoint`, AWS_ENDPOINT_URL_SSM and the profile's `endpoint_url`: an endpoint of this region with TLS, or a loopback address"
            }
            Kind::Stranger => {
                "something between here and AWS answers in its place: a proxy, a portal, a wrong `ssm_endpoint`"
            }
            Kind::Role => {
                "the caller needs sts:AssumeRole on `role_arn`, and the role's trust policy must name the caller; with SSO, the permission set must be assigned"
            }
            Kind::Profile if self.what == PROFILE_BUNDLE => {
                "correct `ca_bundle` of this profile or its file, or write `ca_bundle` in [aws], which is used for every profile"
            }
            Kind::Profile => {
                "choose a `profile` that exists (`aws configure list-profiles`), or correct AWS's files; they are read again at the next connection"
            }
            Kind::Region => {
                "write `region` in [aws] or in the forward, set AWS_REGION, or choose a `profile` that has one"
            }
        }
    }
}

/// The classes of errors that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The target is unknown, offline, or in another account or region.
    TargetNotConnected,
    /// The document does not exist, or does not take these parameters.
    Document,
    /// AWS refused the caller.
    Denied,
    /// Too many calls.
    Throttled,
    /// There are no credentials, or they have expired.
    Credentials,
    /// No answer: name, route, TLS or time.
    Unreachable,
    /// This process or machine has no descriptor or memory left for the call.
    Shortage,
    /// The proxy did not open the way.
    Proxy,
    /// The service answered with an error of its own, or with nonsense.
    ServiceFault,
    /// A panic, of this program or of a library.
    Internal,
    /// The session is over and cannot be resumed.
    Ended,
    /// The service found the request wrong.
    Invalid,
    /// An endpoint that is not called or dialled: not encrypted, or of another region.
    Endpoint,
    /// What answered is not the API.
    Stranger,
    /// The role may not be assumed.
    Role,
    /// A profile does not exist, or AWS's files do not say what it needs.
    Profile,
    /// No region is configured.
    Region,
}

impl Kind {
    /// The name by which the log and the status call it.
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
            Self::Ended => "SessionEnded",
            Self::Invalid => "InvalidRequest",
            Self::Endpoint => "BadEndpoint",
            Self::Stranger => "NotTheApi",
            Self::Role => "RoleNotAssumed",
            Self::Profile => "BadProfile",
            Self::Region => "NoRegion",
        }
    }
}

/// Whether a call that failed reached the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The service has not seen it.
    NotSent,
    /// The service answered it.
    Answered,
    /// It was sent, and the service may have done what it asks for.
    Unknown,
}

/// Whether a failed call may succeed in a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transience {
    /// That is not known.
    None,
    /// The service answered 500 or 503: it may have done what the call asks for.
    Fault,
    /// The service was not reached: the name service, a refused or reset connection.
    Unreached,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Try the same again after a pause.
    Retry,
    /// Open a new session; streams are lost.
    Reopen,
    /// Nothing will change until a person does something.
    GiveUp,
}

/// What has failed if the certificates of a profile cannot be used.
pub(super) const PROFILE_BUNDLE: &str = "`ca_bundle` of a profile";

/// An error and what caused it, without what repeats or says nothing.
pub(super) fn sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        let is_news = !words.iter().any(|word| word.contains(&said));
        if is_news && !EMPTY_WORDS.contains(&said.as_str()) {
            words.push(said);
        }
        next = error.source();
    }
    words.join(": ")
}

/// A text whose line breaks and indentation are single blanks.
fn one_line(text: &str) -> Printable {
    let words = text.split(|c: char| c.is_ascii_whitespace());
    // What is behind is cut off in any case.
    let words = words.filter(|word| !word.is_empty()).take(Printable::MAX);
    words.collect::<Vec<_>>().join(" ").into()
}

/// The call that finds nodes by their tags.
pub(super) const DESCRIBE: &str = "DescribeInstanceInformation";

/// What the SDK and its HTTP client say on every level of an error, before they come to the point.
const EMPTY_WORDS: [&str; 10] = [
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
        let error = Error::new("call", Kind::Invalid, "one:\n  two\u{1b}[2J\r\nthree\n");

        assert_eq!(error.to_string(), "call: one: two\u{fffd}[2J three");
    }

    #[test]
    fn sources_come_to_the_point() {
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
