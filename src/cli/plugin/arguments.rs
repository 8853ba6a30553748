//! The arguments of the official `session-manager-plugin` (docs/plugin.md).
//!
//! ```text
//!   RESPONSE REGION StartSession [PROFILE [REQUEST [ENDPOINT]]]
//! ```
//!
//! RESPONSE is that of StartSession as JSON, or the name of a variable of the environment with it.

use std::ffi::OsString;

use super::fields::{ArgumentError, REQUEST, RESPONSE, object, string};
use super::request::Request;
use crate::session::{SuppliedSession, Token};

/// What the program is called for.
#[derive(Debug)]
pub(super) enum Invocation {
    /// Without arguments: whether it is installed.
    Check,
    /// `--version`.
    Version,
    /// Too few arguments; the first one.
    TooFew(String),
    /// An operation other than StartSession.
    OtherOperation,
    /// A session that was started.
    Session(Box<Arguments>),
    /// A session that was started, but cannot be served.
    Unusable(Box<Arguments>, ArgumentError),
}

/// The arguments for a session.
#[derive(Clone, Debug)]
pub(super) struct Arguments {
    pub(super) session: SuppliedSession,
    pub(super) region: String,
    pub(super) profile: Option<String>,
    /// Missing if an old program has started the session.
    pub(super) request: Option<Request>,
    pub(super) endpoint: Option<String>,
}

impl Invocation {
    /// Parses the arguments after the name of the program.
    ///
    /// # Errors
    ///
    /// If the response names no session. A request that is not as AWS defines it does not keep the
    /// session from being served.
    pub(super) fn parse(
        arguments: &[OsString],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ArgumentError> {
        let texts = arguments.iter().map(|argument| argument.to_string_lossy());
        let texts: Vec<_> = texts.map(String::from).collect();
        match &texts[..] {
            [] => Ok(Self::Check),
            [flag] if flag == "--version" => Ok(Self::Version),
            [first] | [first, _] => Ok(Self::TooFew(first.clone())),
            [_, _, operation, ..] if operation != START_SESSION => Ok(Self::OtherOperation),
            [response, ..] => {
                let (session, fault) = match response.starts_with(VARIABLE) {
                    true => session(&environment(response).ok_or(ArgumentError::NoVariable)?)?,
                    false => session(response)?,
                };
                let fault = fault.or_else(|| not_utf8(arguments));
                let arguments = Arguments::new(session, &texts, is_utf8(arguments, REQUEST_AT));
                let arguments = Box::new(arguments);
                Ok(match fault {
                    None => Self::Session(arguments),
                    Some(fault) => Self::Unusable(arguments, fault),
                })
            }
        }
    }
}

impl Arguments {
    fn new(mut session: SuppliedSession, texts: &[String], is_request_utf8: bool) -> Self {
        let given = |at: usize| texts.get(at).filter(|text| !text.is_empty()).cloned();
        let mut request = given(REQUEST_AT).map(|text| Request::parse(&text));
        if let Some(request) = request.as_mut().filter(|_| !is_request_utf8) {
            request.fault = Some(ArgumentError::NotUtf8(REQUEST));
        }
        if let Some(request) = request.as_ref().filter(|request| request.fault.is_none()) {
            session.target.clone_from(&request.target);
        }
        Self {
            session,
            region: texts.get(1).cloned().unwrap_or_default(),
            profile: given(3),
            request,
            endpoint: given(5),
        }
    }
}

/// Parses the response of StartSession. Returns the session without a target, and what keeps it from
/// being used.
fn session(text: &str) -> Result<(SuppliedSession, Option<ArgumentError>), ArgumentError> {
    let response = object(RESPONSE, text)?;
    let field = |name| string(RESPONSE, &response, name);
    let id = field("SessionId")?;
    let (stream_url, token) = (field("StreamUrl"), field("TokenValue"));
    let fault = stream_url.as_ref().err().or_else(|| token.as_ref().err());
    let fault = fault.copied();
    let session = SuppliedSession {
        id,
        target: String::new(),
        stream_url: stream_url.unwrap_or_default(),
        token: Token::new(token.unwrap_or_default()),
    };
    Ok((session, fault))
}

/// Returns the error of the first argument that is not UTF-8, apart from the request.
fn not_utf8(arguments: &[OsString]) -> Option<ArgumentError> {
    let mut named = (0..).zip(NAMES).filter(|(at, _)| *at != REQUEST_AT);
    let (_, name) = named.find(|(at, _)| !is_utf8(arguments, *at))?;
    Some(ArgumentError::NotUtf8(name))
}

fn is_utf8(arguments: &[OsString], at: usize) -> bool {
    let argument = arguments.get(at);
    argument.is_none_or(|argument| argument.to_str().is_some())
}

/// The only operation.
const START_SESSION: &str = "StartSession";

/// How the name of the variable with the response begins.
pub(super) const VARIABLE: &str = "AWS_SSM_START_SESSION_RESPONSE";

/// The arguments, as errors name them.
const NAMES: [&str; 6] = [
    RESPONSE,
    "the region",
    "the operation",
    "the profile",
    REQUEST,
    "the endpoint",
];

/// Which of them is the request.
const REQUEST_AT: usize = 4;

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const SESSION: &str = r#"{"SessionId":"me-1","StreamUrl":"wss://h/","TokenValue":"secret"}"#;

    fn parsed(arguments: &[&str]) -> Result<Invocation, ArgumentError> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        Invocation::parse(&arguments, |name| {
            (name == VARIABLE).then(|| SESSION.to_owned())
        })
    }

    fn session_of(arguments: &[&str]) -> Arguments {
        let Invocation::Session(arguments) = parsed(arguments).unwrap() else {
            panic!("{arguments:?}")
        };
        *arguments
    }

    #[test]
    fn all_arguments_of_the_aws_cli_are_used() {
        let request = r#"{"Target":"i-1","DocumentName":"Ours","Parameters":{"portNumber":["80"]},"Reason":"why"}"#;

        for response in [SESSION, VARIABLE] {
            let arguments = session_of(&[
                response,
                "eu-west-1",
                "StartSession",
                "prod",
                request,
                "https://h",
            ]);

            assert_eq!(arguments.session.id, "me-1");
            assert_eq!(arguments.session.target, "i-1");
            assert_eq!(arguments.session.token.expose(), "secret");
            assert_eq!(arguments.region, "eu-west-1");
            assert_eq!(arguments.profile.as_deref(), Some("prod"));
            assert_eq!(arguments.endpoint.as_deref(), Some("https://h"));
            let request = arguments.request.unwrap();
            assert_eq!(request.document.as_deref(), Some("Ours"));
            assert_eq!(request.parameters["portNumber"], ["80"]);
            assert_eq!(request.reason.as_deref(), Some("why"));
        }
    }

    #[test]
    fn empty_and_missing_arguments_are_the_same() {
        for arguments in [
            &[SESSION, "r", "StartSession"][..],
            &[SESSION, "r", "StartSession", "", "", ""][..],
        ] {
            let arguments = session_of(arguments);

            assert!(arguments.profile.is_none() && arguments.request.is_none());
            assert!(arguments.endpoint.is_none());
        }
    }

    #[test]
    fn other_calls_are_distinguished() {
        assert!(matches!(parsed(&[]), Ok(Invocation::Check)));
        assert!(matches!(parsed(&["--version"]), Ok(Invocation::Version)));
        assert!(matches!(parsed(&["a"]), Ok(Invocation::TooFew(_))));
        assert!(matches!(parsed(&["a", "b"]), Ok(Invocation::TooFew(_))));
        assert!(matches!(
            parsed(&["a", "b", "c"]),
            Ok(Invocation::OtherOperation)
        ));
    }

    #[test]
    fn an_error_names_the_field_and_nothing_of_its_content() {
        let deep = "[".repeat(100_000);
        let other_variable = format!("{VARIABLE}_X");
        let without = |name: &str| SESSION.replace(name, "Other");
        let responses = [
            "".to_owned(),
            "secret".to_owned(),
            "\"secret\"".to_owned(),
            deep,
            other_variable,
            without("SessionId"),
        ];

        for response in responses {
            let error = parsed(&[&response, "r", "StartSession"]).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        for request in [
            "x",
            "{}",
            r#"{"Target":7}"#,
            r#"{"Target":"i-1","Parameters":["secret"]}"#,
            r#"{"Target":"i-1","Parameters":{"a":["secret",7]}}"#,
            r#"{"Target":"i-1","Parameters":{"a":"secret\u001b"}}"#,
            r#"{"Target":"i-1","DocumentName":["secret"]}"#,
        ] {
            let error = Request::parse(request).fault.unwrap();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_session_that_cannot_be_served_is_known_if_the_response_has_its_id() {
        let without = |name: &str| SESSION.replace(name, "Other");
        let wrong = |text: &str| SESSION.replace(r#""secret""#, text);

        for (response, field) in [
            (without("StreamUrl"), "StreamUrl"),
            (without("TokenValue"), "TokenValue"),
            (wrong("[\"secret\"]"), "TokenValue"),
            (wrong("\"\""), "TokenValue"),
            (wrong("7"), "TokenValue"),
        ] {
            let parsed = parsed(&[&response, "r", "StartSession", "p"]).unwrap();
            let Invocation::Unusable(arguments, error) = parsed else {
                panic!("{response}: {parsed:?}")
            };
            assert_eq!(arguments.session.id, "me-1");
            assert_eq!(arguments.profile.as_deref(), Some("p"));
            assert_eq!(error, ArgumentError::Field(RESPONSE, field));
        }
    }

    #[test]
    fn an_argument_that_is_not_utf8_is_named() {
        let request = r#"{"Target":"i-1"}"#;
        let good = [SESSION, "r", "StartSession", "p", request, "https://h"];

        for (at, name) in NAMES.iter().enumerate() {
            let mut arguments: Vec<_> = good.iter().map(OsString::from).collect();
            arguments[at].push(OsStr::from_bytes(b"\xff"));
            let parsed = Invocation::parse(&arguments, |_| None);
            match (at, parsed) {
                (0, parsed) => assert!(parsed.is_err(), "it is not JSON"),
                (2, parsed) => assert!(matches!(parsed, Ok(Invocation::OtherOperation))),
                (REQUEST_AT, Ok(Invocation::Session(session))) => {
                    let fault = session.request.unwrap().fault;
                    assert_eq!(fault, Some(ArgumentError::NotUtf8(REQUEST)));
                    assert_eq!(session.session.target, "");
                }
                (_, Ok(Invocation::Unusable(session, error))) => {
                    assert_eq!(error, ArgumentError::NotUtf8(name));
                    assert_eq!(session.session.id, "me-1");
                }
                (_, parsed) => panic!("{name}: {parsed:?}"),
            }
        }
    }
}
