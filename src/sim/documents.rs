//! The documents of Session Manager: their parameters and resolved properties.
//!
//! The real ones are part of AWS; docs/protocol.md, section 1.3, lists what is known of them.

use std::collections::BTreeMap;

/// A document that the simulator supports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document {
    /// Name of the document.
    pub(super) name: &'static str,
    parameters: &'static [Parameter],
    /// Properties that are not parameters.
    fixed: &'static [(&'static str, &'static str)],
}

impl Document {
    /// Returns the document with this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        DOCUMENTS.iter().find(|document| document.name == name)
    }

    /// Returns the properties that the agent and the client receive.
    ///
    /// # Errors
    ///
    /// Fails with a text about the first invalid parameter.
    pub(super) fn properties(
        &self,
        given: &BTreeMap<String, Vec<String>>,
    ) -> Result<BTreeMap<String, String>, String> {
        if let Some(unknown) = given.keys().find(|name| !self.takes(name)) {
            return Err(format!(
                "Parameter {unknown} is not defined in document {}.",
                self.name
            ));
        }
        let fixed = self
            .fixed
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut properties: BTreeMap<_, _> = fixed.collect();
        for parameter in self.parameters {
            let value = parameter.value(given.get(parameter.name))?;
            properties.insert(parameter.name.to_owned(), value);
        }
        Ok(properties)
    }

    fn takes(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|parameter| parameter.name == name)
    }
}

/// Returns the names of the supported documents.
pub fn documents() -> impl Iterator<Item = &'static str> {
    DOCUMENTS.iter().map(|document| document.name)
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

const DOCUMENTS: [Document; 4] = [
    Document {
        name: "AWS-StartPortForwardingSession",
        parameters: &[port("80"), LOCAL_PORT],
        fixed: &[PORT_FORWARDING],
    },
    Document {
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
        fixed: &[PORT_FORWARDING],
    },
    Document {
        name: "AWS-StartPortForwardingSessionToSocket",
        parameters: &[
            port("80"),
            Parameter {
                name: "localUnixSocket",
                default: None,
                pattern: Pattern::Path,
            },
        ],
        fixed: &[PORT_FORWARDING, ("localConnectionType", "unix")],
    },
    Document {
        name: "AWS-StartSSHSession",
        parameters: &[port("22")],
        fixed: &[],
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
        Document::find(name).unwrap().properties(&given.collect())
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
