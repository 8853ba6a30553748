//! The arguments of the official `session-manager-plugin` (docs/plugin.md).
//!
//! ```text
//!   RESPONSE REGION StartSession [PROFILE [REQUEST [ENDPOINT]]]
//! ```
//!
//! RESPONSE is that of StartSession as JSON, or the name of a variable of the environment with it.
//! It has a token, so nothing of its content is in an error.

use std::fmt;

use serde_json::{Map, Value};

use crate::config::{self, Parameters};
use crate::printable::is_printable;
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

/// The request that has started the session, as far as it is understood.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// Empty if it is not understood.
    pub(super) target: String,
    pub(super) document: Option<String>,
    pub(super) parameters: Parameters,
    pub(super) reason: Option<String>,
    /// Why it cannot be repeated.
    pub(super) fault: Option<ArgumentError>,
}

impl Invocation {
    /// Parses the arguments after the name of the program.
    ///
    /// # Errors
    ///
    /// If the response is not as AWS defines it. A request that is not does not keep the session from
    /// being served.
    pub(super) fn parse(
        arguments: &[String],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ArgumentError> {
        match arguments {
            [] => Ok(Self::Check),
            [flag] if flag == "--version" => Ok(Self::Version),
            [first] | [first, _] => Ok(Self::TooFew(first.clone())),
            [_, _, operation, ..] if operation != START_SESSION => Ok(Self::OtherOperation),
            [response, region, _, rest @ ..] => {
                let request = rest.get(1).filter(|text| !text.is_empty());
                let request = request.map(|text| Request::parse(text));
                let target = request.as_ref().filter(|request| request.fault.is_none());
                let target = target.map(|request| request.target.clone());
                let session = match response.starts_with(VARIABLE) {
                    true => {
                        let text = environment(response).ok_or(ArgumentError::NoVariable)?;
                        session(&text, target.unwrap_or_default())?
                    }
                    false => session(response, target.unwrap_or_default())?,
                };
                let given = |at: usize| rest.get(at).filter(|text| !text.is_empty()).cloned();
                Ok(Self::Session(Box::new(Arguments {
                    session,
                    region: region.clone(),
                    profile: given(0),
                    request,
                    endpoint: given(2),
                })))
            }
        }
    }
}

/// Parses the response of StartSession.
fn session(text: &str, target: String) -> Result<SuppliedSession, ArgumentError> {
    let response = object(RESPONSE, text)?;
    Ok(SuppliedSession {
        id: string(RESPONSE, &response, "SessionId")?,
        target,
        stream_url: string(RESPONSE, &response, "StreamUrl")?,
        token: Token::new(string(RESPONSE, &response, "TokenValue")?),
    })
}

impl Request {
    fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        let filled = object(REQUEST, text).and_then(|request| parsed.fill(&request));
        parsed.fault = filled.err();
        parsed
    }

    /// Takes the fields in the order of what they tell about the session, until one is wrong.
    fn fill(&mut self, request: &Map<String, Value>) -> Result<(), ArgumentError> {
        let optional = |name| match request.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(_) => string(REQUEST, request, name).map(Some),
        };
        self.document = optional("DocumentName")?;
        self.target = string(REQUEST, request, "Target")?;
        self.parameters = parameters(request.get("Parameters"))?;
        self.reason = optional("Reason")?.map(|reason| reason.replace(char::is_control, " "));
        self.check()
    }

    /// Checks the texts that are logged and sent again.
    fn check(&self) -> Result<(), ArgumentError> {
        let values = self.parameters.iter();
        let texts = values.flat_map(|(name, values)| std::iter::once(name).chain(values));
        let mut texts = texts.chain([&self.target]);
        if !texts.all(|text| text.chars().all(is_printable)) {
            return Err(ArgumentError::Unprintable(REQUEST));
        }
        let checked = self.document.as_deref().map(config::argument("document"));
        let checked = checked.transpose();
        checked.map_err(|_| ArgumentError::Field(REQUEST, "DocumentName"))?;
        Ok(())
    }
}

fn parameters(value: Option<&Value>) -> Result<Parameters, ArgumentError> {
    let error = || ArgumentError::Field(REQUEST, "Parameters");
    let parameters = match value {
        None | Some(Value::Null) => return Ok(Parameters::new()),
        Some(value) => value.as_object().ok_or_else(error)?,
    };
    let parameters = parameters.iter().map(|(name, values)| {
        let values = match values.as_str() {
            // What the AWS CLI makes a list of.
            Some(value) => vec![value.to_owned()],
            None => {
                let values = values.as_array()?.iter();
                let values = values.map(|value| value.as_str().map(str::to_owned));
                values.collect::<Option<_>>()?
            }
        };
        Some((name.clone(), values))
    });
    parameters.collect::<Option<_>>().ok_or_else(error)
}

fn object(what: &'static str, text: &str) -> Result<Map<String, Value>, ArgumentError> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ArgumentError::NotAnObject(what)),
        Err(error) => Err(ArgumentError::NotJson(what, error.line(), error.column())),
    }
}

/// Returns a field that is a text and not empty.
fn string(
    what: &'static str,
    object: &Map<String, Value>,
    name: &'static str,
) -> Result<String, ArgumentError> {
    let text = object.get(name).and_then(Value::as_str);
    let text = text.filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or(ArgumentError::Field(what, name))
}

/// Arguments that are not those of StartSession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArgumentError {
    /// The variable of the environment is not set.
    NoVariable,
    /// The argument is not JSON, at this line and column.
    NotJson(&'static str, usize, usize),
    /// The argument is not a JSON object.
    NotAnObject(&'static str),
    /// The field is missing or has another type.
    Field(&'static str, &'static str),
    /// A text has characters that cannot be displayed.
    Unprintable(&'static str),
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVariable => write!(
                f,
                "the environment has no variable of the name in the first argument"
            ),
            Self::NotJson(what, line, column) => {
                write!(f, "{what} is not JSON (line {line}, column {column})")
            }
            Self::NotAnObject(what) => write!(f, "{what} is not a JSON object"),
            Self::Field(what, name) => write!(f, "{what} has no valid {name}"),
            Self::Unprintable(what) => write!(f, "{what} has a character that is not printable"),
        }
    }
}

/// The only operation.
const START_SESSION: &str = "StartSession";

/// How the name of the variable with the response begins.
pub(super) const VARIABLE: &str = "AWS_SSM_START_SESSION_RESPONSE";

const RESPONSE: &str = "the response of StartSession";
const REQUEST: &str = "the request of StartSession";

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = r#"{"SessionId":"me-1","StreamUrl":"wss://h/","TokenValue":"secret"}"#;

    fn parsed(arguments: &[&str]) -> Result<Invocation, ArgumentError> {
        let arguments: Vec<_> = arguments.iter().map(|&text| text.to_owned()).collect();
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
        let wrong = |text: &str| SESSION.replace(r#""secret""#, text);
        let responses = [
            "".to_owned(),
            "secret".to_owned(),
            "\"secret\"".to_owned(),
            deep,
            other_variable,
            without("SessionId"),
            without("StreamUrl"),
            without("TokenValue"),
            wrong("[\"secret\"]"),
            wrong("\"\""),
            wrong("7"),
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
            let error = request_of(request).fault.unwrap();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    fn request_of(text: &str) -> Request {
        let arguments = session_of(&[SESSION, "r", "StartSession", "", text]);
        arguments.request.unwrap()
    }

    #[test]
    fn a_request_is_understood_in_the_forms_that_callers_use() {
        let request = request_of(
            r#"{"Target":"i-1","DocumentName":"","Reason":"","Parameters":{"portNumber":"80"}}"#,
        );

        assert_eq!(request.fault, None);
        assert_eq!(request.document, None);
        assert_eq!(request.reason, None);
        assert_eq!(request.parameters["portNumber"], ["80"]);
        let reason = request_of(r#"{"Target":"i-1","Reason":"a\tb\nc"}"#).reason;
        assert_eq!(reason.as_deref(), Some("a b c"));
    }

    #[test]
    fn a_request_that_is_not_understood_still_tells_the_document() {
        let request = request_of(r#"{"Target":"i-1","DocumentName":"Ours","Parameters":7}"#);

        assert_eq!(
            request.fault,
            Some(ArgumentError::Field(REQUEST, "Parameters"))
        );
        assert_eq!(request.document.as_deref(), Some("Ours"));
    }
}
