//! Version of the AWS client.

use std::str::FromStr;

use crate::config::diagnostic::ValueError;
use crate::config::model::ClientVersion;
use crate::config::source::quoted;

impl FromStr for ClientVersion {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
        let version = numbers.map(Self).filter(|v| v.to_string() == text);
        let hint =
            "write four numbers, as printed by `session-manager-plugin --version`: \"1.2.835.0\"";
        let error = |what: &str, hint| ValueError::new(format!("{} {what}", quoted(text)), hint);
        let version =
            version.ok_or_else(|| error("is not a valid session-manager-plugin version", hint))?;
        if version.0 <= TOO_OLD {
            let hint = "agents terminate idle sessions of clients up to 1.2.331.0; remove the setting, or use a newer version";
            return Err(error("is too old", hint));
        }
        if version.0.iter().any(|number| *number > MAX_NUMBER) {
            return Err(error(&format!("has a number above {MAX_NUMBER}"), hint));
        }
        Ok(version)
    }
}

/// Checks the version of a client.
pub(in crate::config) fn check_client_version(text: &str) -> Result<(), ValueError> {
    text.parse::<ClientVersion>().map(drop)
}

/// With clients up to this version, agents end an idle mux (docs/protocol.md, section 5.5).
const TOO_OLD: [u32; 4] = [1, 2, 331, 0];

/// Maximum of each number; above any client version, and safe for code that compares them.
const MAX_NUMBER: u32 = 999_999;
