//! What went wrong with a session, and what to do about it.

/// A session that could not be started, resumed or dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// The call that failed, as a person knows it.
    what: &'static str,
    why: String,
    kind: Kind,
}

impl Error {
    /// `what` is the call, `why` the service's or the library's words, without secrets.
    pub(super) fn new(what: &'static str, kind: Kind, why: impl Into<String>) -> Self {
        Self {
            what,
            why: why.into(),
            kind,
        }
    }

    /// Which of the few classes it belongs to.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What its caller should do about it.
    pub fn recovery(&self) -> Recovery {
        match self.kind {
            Kind::Throttled | Kind::Unreachable | Kind::ServiceFault | Kind::Credentials => {
                Recovery::Retry
            }
            Kind::Ended => Recovery::Reopen,
            Kind::TargetNotConnected | Kind::Document | Kind::Denied | Kind::Invalid => {
                Recovery::GiveUp
            }
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            Kind::TargetNotConnected => {
                "check that the target runs, that its SSM agent is online, and that region and account are the right ones"
            }
            Kind::Document => {
                "check `document`: it must exist in this region and account, and take these parameters"
            }
            Kind::Denied => {
                "the caller needs ssm:StartSession on the target and on the document, ssm:TerminateSession and ssm:ResumeSession on its own sessions, and ssmmessages:OpenDataChannel"
            }
            Kind::Throttled => "AWS limits the rate of this call; it is tried again by itself",
            Kind::Credentials => {
                "log in again (`aws sso login`) or set credentials; they are read anew for the next connection"
            }
            Kind::Unreachable => "check the network, `ssm_endpoint` and the name service",
            Kind::ServiceFault => "the service had an error of its own; try again",
            Kind::Ended => "the session is over; a new connection gets a new one",
            Kind::Invalid => "check `target`, `remote` and `document` of this forward",
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
    /// The service answered with an error of its own, or with nonsense.
    ServiceFault,
    /// The session is over and cannot be resumed.
    Ended,
    /// The service found the request wrong.
    Invalid,
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
            Self::ServiceFault => "ServiceFault",
            Self::Ended => "SessionEnded",
            Self::Invalid => "InvalidRequest",
        }
    }
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

/// An error and what caused it, in one line, without what repeats.
pub(super) fn sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let words = source.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = source.source();
    }
    text
}
