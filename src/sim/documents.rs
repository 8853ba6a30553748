//! The documents of Session Manager: their parameters and resolved properties.
//!
//! The real ones are part of AWS; docs/protocol.md, section 1.3, lists what is known of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A document: one of AWS that the simulator supports, or one like it, which fixes some parameters.
#[derive(Clone, Debug)]
pub struct Document {
    base: &'static AwsDocument,
    /// Values of parameters of `base`, which this document does not take.
    fixed: BTreeMap<String, String>,
}

impl Document {
    /// Returns a document that behaves like this one of AWS.
    ///
    /// # Errors
    ///
    /// Fails with a text for the user if the simulator does not support it.
    pub fn like(name: &str) -> Result<Self, String> {
        let known = AWS_DOCUMENTS.iter().find(|document| document.name == name);
        let base = known.ok_or_else(|| {
            let known = AWS_DOCUMENTS.each_ref().map(|document| document.name);
            let known = known.join(", ");
            format!("the simulator does not implement {name:?}; expected one of {known}")
        })?;
        let fixed = BTreeMap::new();
        Ok(Self { base, fixed })
    }

    /// Fixes a parameter: it has this value, and StartSession refuses it.
    ///
    /// # Errors
    ///
    /// Fails with a text for the user if the document does not take this parameter and value.
    pub fn fixing(mut self, name: &str, value: &str) -> Result<Self, String> {
        let parameter = self.parameters().find(|parameter| parameter.name == name);
        let given = vec![value.to_owned()];
        let value = match parameter {
            Some(parameter) => parameter.value(Some(&given))?,
            None => return Err(format!("{} takes no parameter {name}", self.base.name)),
        };
        self.fixed.insert(name.to_owned(), value);
        Ok(self)
    }

    /// Returns the properties that the agent and the client receive. `name` is how the document was
    /// called.
    ///
    /// # Errors
    ///
    /// Fails with a text about the first invalid parameter.
    pub(super) fn properties(
        &self,
        name: &str,
        given: &BTreeMap<String, Vec<String>>,
    ) -> Result<BTreeMap<String, String>, String> {
        let takes = |given: &str| self.parameters().any(|parameter| parameter.name == given);
        if let Some(unknown) = given.keys().find(|given| !takes(given)) {
            return Err(format!(
                "Parameter {unknown} is not defined in document {name}."
            ));
        }
        let constants = self.base.constants.iter();
        let constants = constants.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut properties: BTreeMap<_, _> = constants.chain(self.fixed.clone()).collect();
        for parameter in self.parameters() {
            let value = parameter.value(given.get(parameter.name))?;
            properties.insert(parameter.name.to_owned(), value);
        }
        Ok(properties)
    }

    /// Returns its description in the response to DescribeDocument.
    pub(super) fn description(&self, name: &str) -> Value {
        let parameters = self.parameters().map(|parameter| {
            let mut described = json!({ "Name": parameter.name, "Type": "String" });
            if let Some(default) = parameter.default {
                described["DefaultValue"] = default.into();
            }
            described
        });
        let parameters: Vec<_> = parameters.collect();
        json!({
            "Name": name,
            "DocumentType": "Session",
            "SchemaVersion": "1.0",
            "Status": "Active",
            "Parameters": parameters,
        })
    }

    /// Returns the parameters that it takes.
    fn parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        let all = self.base.parameters.iter();
        all.filter(|parameter| !self.fixed.contains_key(parameter.name))
    }
}

#[derive(Debug)]
struct AwsDocument {
    name: &'static str,
    parameters: &'static [Parameter],
    /// Properties that are not parameters.
    constants: &'static [(&'static str, &'static str)],
}

/// Returns true if the name is a valid document name; AWS requires 3 to 128 characters.
pub fn is_document_name(name: &str) -> bool {
    let is_fitting = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    DOCUMENT_NAME.contains(&name.len()) && name.chars().all(is_fitting)
}

#[derive(Clone, Copy, Debug)]
struct Parameter {
    name: &'static str,
    /// Default value; `None` if the parameter is required.
    default: Option<&'static str>,
    pattern: Pattern,
}

impl Parameter {
    fn value(&self, given: Option<&Vec<String>>) -> Result<String, String> {
        let Self {
            name,
            default,
            pattern,
        } = self;
        let value = match (given.map(Vec::as_slice), default) {
            (None, Some(default)) => return Ok((*default).to_owned()),
            (None, None) => return Err(format!("Parameter {name} is required.")),
            (Some([value]), _) => value,
            (Some(_), _) => return Err(format!("Parameter {name} takes exactly one value.")),
        };
        match pattern.fits(value) {
            true => Ok(value.clone()),
            false => Err(format!("Parameter {name} has the invalid value {value}.")),
        }
    }
}

/// Valid values of a parameter.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// 1 to 65535, without a sign or leading zeros.
    Port,
    /// Like `Port`, or 0.
    AnyPort,
    /// At least three characters, none of them special to a shell.
    Host,
    /// A non-empty path.
    Path,
}

impl Pattern {
    fn fits(self, value: &str) -> bool {
        match self {
            Self::Port => is_port(value) && value != "0",
            Self::AnyPort => is_port(value),
            Self::Host => value.len() >= 3 && !value.contains(is_special),
            Self::Path => !value.is_empty(),
        }
    }
}

fn is_port(value: &str) -> bool {
    value
        .parse::<u16>()
        .is_ok_and(|port| port.to_string() == value)
}

fn is_special(character: char) -> bool {
    character.is_whitespace() || ",$^&()!;'\"\\<>`{}[]|#=".contains(character)
}

const fn port(default: &'static str) -> Parameter {
    Parameter {
        name: "portNumber",
        default: Some(default),
        pattern: Pattern::Port,
    }
}

const LOCAL_PORT: Parameter = Parameter {
    name: "localPortNumber",
    default: Some("0"),
    pattern: Pattern::AnyPort,
};

const PORT_FORWARDING: (&str, &str) = ("type", "LocalPortForwarding");

/// Valid length of a document name.
pub(super) const DOCUMENT_NAME: std::ops::RangeInclusive<usize> = 3..=128;

static AWS_DOCUMENTS: [AwsDocument; 4] = [
    AwsDocument {
        name: "AWS-StartPortForwardingSession",
        parameters: &[port("80"), LOCAL_PORT],
        constants: &[PORT_FORWARDING],
    },
    AwsDocument {
        name: "AWS-StartPortForwardingSessionToRemoteHost",
        parameters: &[
            port("22"),
            LOCAL_PORT,
            Parameter {
                name: "host",
                default: None,
                pattern: Pattern::Host,
            },
        ],
        constants: &[PORT_FORWARDING],
    },
    AwsDocument {
        name: "AWS-StartPortForwardingSessionToSocket",
        parameters: &[
            port("80"),
            Parameter {
                name: "localUnixSocket",
                default: None,
                pattern: Pattern::Path,
            },
        ],
        constants: &[PORT_FORWARDING, ("localConnectionType", "unix")],
    },
    AwsDocument {
        name: "AWS-StartSSHSession",
        parameters: &[port("22")],
        constants: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(
        name: &str,
        given: &[(&str, &[&str])],
    ) -> Result<BTreeMap<String, String>, String> {
        let given = given.iter().map(|(name, values)| {
            let values = values.iter().map(|value| (*value).to_owned());
            ((*name).to_owned(), values.collect())
        });
        Document::like(name)?.properties(name, &given.collect())
    }

    #[test]
    fn defaults_replace_missing_parameters() {
        let properties = properties(
            "AWS-StartPortForwardingSession",
            &[("portNumber", &["5432"])],
        )
        .unwrap();

        let expected = [
            ("localPortNumber", "0"),
            ("portNumber", "5432"),
            PORT_FORWARDING,
        ];
        assert!(
            properties
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected)
        );
    }

    #[test]
    fn ssh_has_no_type() {
        assert!(
            !properties("AWS-StartSSHSession", &[])
                .unwrap()
                .contains_key("type")
        );
    }

    #[test]
    fn a_fixed_parameter_has_its_value_and_is_not_taken() {
        let fixing = |name, value| {
            let document = Document::like("AWS-StartPortForwardingSessionToRemoteHost");
            document?.fixing("host", "db.internal")?.fixing(name, value)
        };
        let own = fixing("portNumber", "5432").unwrap();
        let given = |name: &str| [(name.to_owned(), vec!["1".to_owned()])].into();

        let properties = own.properties("Own", &BTreeMap::new()).unwrap();
        let refused = own.properties("Own", &given("portNumber"));

        assert_eq!(
            (&*properties["host"], &*properties["portNumber"]),
            ("db.internal", "5432")
        );
        let expected = "Parameter portNumber is not defined in document Own.".to_owned();
        assert_eq!(refused, Err(expected));
        assert!(own.properties("Own", &given("localPortNumber")).is_ok());
        for (name, value) in [("portNumber", "0"), ("colour", "red"), ("host", "other")] {
            assert!(fixing(name, value).is_err(), "{name}");
        }
    }

    #[test]
    fn invalid_parameters_are_reported() {
        let remote = "AWS-StartPortForwardingSessionToRemoteHost";
        let bad: [&[(&str, &[&str])]; 9] = [
            &[("portNumber", &["0"]), ("host", &["db.internal"])],
            &[("portNumber", &["65536"]), ("host", &["db.internal"])],
            &[("portNumber", &["+80"]), ("host", &["db.internal"])],
            &[("portNumber", &["080"]), ("host", &["db.internal"])],
            &[("portNumber", &[]), ("host", &["db.internal"])],
            &[("portNumber", &["80", "81"]), ("host", &["db.internal"])],
            &[("portNumber", &["80"])],
            &[("host", &["db;rm"])],
            &[("host", &["db.internal"]), ("colour", &["red"])],
        ];

        for given in bad {
            assert!(properties(remote, given).is_err(), "{given:?}");
        }
    }
}
