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

use crate::config::Parameters;
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
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) session: SuppliedSession,
    pub(super) region: String,
    pub(super) profile: Option<String>,
    /// Missing if an old program has started the session.
    pub(super) request: Option<Request>,
    pub(super) endpoint: Option<String>,
}

/// The request that has started the session.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) target: String,
    pub(super) document: Option<String>,
    pub(super) parameters: Parameters,
    pub(super) reason: Option<String>,
}

impl Invocation {
    /// Parses the arguments after the name of the program.
    ///
    /// # Errors
    ///
    /// If the response or the request is not as AWS defines it.
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
                let request = request.map(|text| Request::parse(text)).transpose()?;
                let target = request.as_ref().map(|request| request.target.clone());
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
    fn parse(text: &str) -> Result<Self, ArgumentError> {
        let request = object(REQUEST, text)?;
        let optional = |name| match request.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => string(REQUEST, &request, name).map(Some),
        };
        Ok(Self {
            target: string(REQUEST, &request, "Target")?,
            document: optional("DocumentName")?,
            parameters: parameters(request.get("Parameters"))?,
            reason: optional("Reason")?,
        })
    }
}

fn parameters(value: Option<&Value>) -> Result<Parameters, ArgumentError> {
    let error = || ArgumentError::Field(REQUEST, "Parameters");
    let parameters = match value {
        None | Some(Value::Null) => return Ok(Parameters::new()),
        Some(value) => value.as_object().ok_or_else(error)?,
    };
    let parameters = parameters.iter().map(|(name, values)| {
        let values = values.as_array()?.iter();
        let values = values.map(|value| value.as_str().map(str::to_owned));
        Some((name.clone(), values.collect::<Option<Vec<_>>>()?))
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
        let request = r#"{"Target":"i-1","DocumentName":"D","Parameters":{"portNumber":["80"]},"Reason":"why"}"#;

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
            assert_eq!(request.document.as_deref(), Some("D"));
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
            r#"{"Target":"i-1","Parameters":{"a":"secret"}}"#,
            r#"{"Target":"i-1","DocumentName":["secret"]}"#,
        ] {
            let error = parsed(&[SESSION, "r", "StartSession", "", request]).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
