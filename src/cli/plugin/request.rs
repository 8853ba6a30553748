//! The request that has started a session, as the caller passes it.

use serde_json::{Map, Value};

use super::fields::{ArgumentError, REQUEST, object, string};
use crate::config::{self, Parameters};
use crate::printable::is_printable;

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

impl Request {
    /// Parses a request; what is not understood is a fault of it.
    pub(super) fn parse(text: &str) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_understood_in_the_forms_that_callers_use() {
        let request = Request::parse(
            r#"{"Target":"i-1","DocumentName":"","Reason":"","Parameters":{"portNumber":"80"}}"#,
        );

        assert_eq!(request.fault, None);
        assert_eq!(request.document, None);
        assert_eq!(request.reason, None);
        assert_eq!(request.parameters["portNumber"], ["80"]);
        let reason = Request::parse(r#"{"Target":"i-1","Reason":"a\tb\nc"}"#).reason;
        assert_eq!(reason.as_deref(), Some("a b c"));
    }

    #[test]
    fn a_request_that_is_not_understood_still_tells_the_document() {
        let request = Request::parse(r#"{"Target":"i-1","DocumentName":"Ours","Parameters":7}"#);

        assert_eq!(
            request.fault,
            Some(ArgumentError::Field(REQUEST, "Parameters"))
        );
        assert_eq!(request.document.as_deref(), Some("Ours"));
    }
}
