//! Errors of sessions: their class, recovery and hint.

use crate::error_class::ErrorClass;
use crate::network;
use crate::printable::Printable;

/// A session that could not be started, resumed or connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// The failed call, as shown to the user.
    what: &'static str,
    why: Printable,
    kind: ErrorKind,
    class: ErrorClass,
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
            class: kind.class(why.as_ref()),
            effect: Effect::NotSent,
            transience: Transience::None,
        }
    }

    /// Sets the class, if it is known more exactly than by the kind.
    pub(super) fn with_class(self, class: ErrorClass) -> Self {
        Self { class, ..self }
    }

    /// Appends text to the message.
    pub(super) fn with_suffix(self, words: impl AsRef<str>) -> Self {
        let why = one_line(&format!("{}{}", self.why.as_str(), words.as_ref()));
        Self { why, ..self }
    }

    /// Inserts text before the message.
    pub(super) fn with_prefix(self, words: &str) -> Self {
        let why = one_line(&format!("{words}; {}", self.why.as_str()));
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
        let mut classes = errors.iter().map(Self::class);
        let class = classes.next();
        let class = class.filter(|first| classes.all(|class| class == *first));
        let errors: Vec<_> = errors.iter().map(|error| error.why.as_str()).collect();
        let why = format!("no target is connected: {}", errors.join("; "));
        let merged = Self::new("StartSession", ErrorKind::TargetNotConnected, why);
        merged.with_class(class.unwrap_or(ErrorClass::TargetNotConnected))
    }

    /// Returns the failed call.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// Returns the kind of the error, which determines how it is handled.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the class of the error, which is what the user sees.
    pub fn class(&self) -> ErrorClass {
        self.class
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
        match (self.class, self.what) {
            (ErrorClass::AccessDenied, DESCRIBE) => {
                "to find a target by its tags, the caller needs ssm:DescribeInstanceInformation, on \"*\""
            }
            (ErrorClass::InvalidRequest, DESCRIBE) => {
                "check the tags of `target`; AWS allows every character in tags of EC2, and letters, digits, spaces and `_.:/=+-@` elsewhere"
            }
            (ErrorClass::TargetNotConnected, PUSH_KEY) => {
                "check that the instance is running, and that region and account are those of the instance"
            }
            (ErrorClass::AccessDenied, PUSH_KEY) => {
                "to push a key, the caller needs ec2-instance-connect:SendSSHPublicKey on the instance; a condition on ec2:osuser must permit the user"
            }
            (ErrorClass::InvalidRequest, PUSH_KEY) => {
                "keys can be pushed to EC2 instances (i-…) only, and must be of the type ed25519 or rsa; for other nodes, remove --push-key"
            }
            (ErrorClass::EndpointNotResolved | ErrorClass::EndpointUnreachable, PUSH_KEY) => {
                "check the network, DNS and `ec2_instance_connect_endpoint`; if TLS is intercepted, set `ca_bundle`"
            }
            (ErrorClass::BadProfile, PROFILE_BUNDLE) => {
                "correct `ca_bundle` of this profile or its file, or set `ca_bundle` in [aws], which is used for every profile"
            }
            (ErrorClass::AccessDenied, LIST_TASKS) => {
                "to find a task, the caller needs ecs:ListTasks, on \"*\" or with the condition ecs:cluster, and ecs:DescribeTasks on the tasks of the cluster"
            }
            (ErrorClass::AccessDenied, DESCRIBE_TASKS) => {
                "to find a task, the caller needs ecs:DescribeTasks on the tasks of the cluster: arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/*"
            }
            (ErrorClass::InvalidRequest, LIST_TASKS | DESCRIBE_TASKS) => {
                "check `target`: cluster and service must be names or ARNs of this region and account"
            }
            (
                ErrorClass::EndpointNotResolved | ErrorClass::EndpointUnreachable,
                LIST_TASKS | DESCRIBE_TASKS,
            ) => "check the network, DNS, `region` and `ecs_endpoint`",
            (ErrorClass::TaskNotRunning, LIST_TASKS) => {
                "check the names of the cluster and of the service, the region and the account; `aws ecs list-clusters` and `aws ecs list-services --cluster CLUSTER` list them"
            }
            (ErrorClass::TaskNotRunning, DESCRIBE_TASKS) => {
                "check the desired count and the events of the service (`aws ecs describe-services`), and why its tasks stop"
            }
            (ErrorClass::TargetAmbiguous | ErrorClass::TargetNotFound, DESCRIBE_TASKS) => {
                "name one of the containers: `ecs:CLUSTER/SERVICE/CONTAINER`, or `container` in `target = { ecs = { … } }`"
            }
            (ErrorClass::InvalidRequest, SUPPLIED) => {
                "the first argument must be the response of StartSession as JSON, unchanged, or the name of the environment variable with it"
            }
            _ => self.class.remedy(),
        }
    }
}

/// Kinds of errors, by how they are handled. A kind has one or more classes.
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
    /// Returns the class of an error of this kind and message, unless it is known more exactly.
    fn class(self, why: &str) -> ErrorClass {
        match self {
            Self::TargetNotConnected => ErrorClass::TargetNotConnected,
            Self::Document => ErrorClass::DocumentNotFound,
            Self::Denied => ErrorClass::AccessDenied,
            Self::Throttled => ErrorClass::Throttled,
            Self::Credentials => ErrorClass::NoCredentials,
            Self::Unreachable => network::class_of_unreachable(why),
            Self::Shortage => ErrorClass::OutOfResources,
            Self::Proxy => ErrorClass::ProxyRefused,
            Self::ServiceFault => ErrorClass::ServiceFault,
            Self::Internal => ErrorClass::InternalError,
            Self::SessionEnded => ErrorClass::SessionEnded,
            Self::Invalid => ErrorClass::InvalidRequest,
            Self::InvalidEndpoint => ErrorClass::BadEndpoint,
            Self::NotAws => ErrorClass::NotTheApi,
            Self::Role => ErrorClass::RoleNotAssumed,
            Self::Profile => ErrorClass::BadProfile,
            Self::Region => ErrorClass::NoRegion,
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

/// The calls that find tasks of ECS.
pub(super) const LIST_TASKS: &str = "ListTasks";
pub(super) const DESCRIBE_TASKS: &str = "DescribeTasks";

/// Returns whether a call is one of ECS.
pub(super) fn is_of_ecs(what: &str) -> bool {
    [LIST_TASKS, DESCRIBE_TASKS].contains(&what)
}
/// A session that was handed over, in place of a call.
pub(super) const SUPPLIED: &str = "the session that was handed over";

/// The call that pushes a public key to an instance.
pub(super) const PUSH_KEY: &str = "SendSSHPublicKey";

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
