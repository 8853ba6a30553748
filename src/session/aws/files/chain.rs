//! Chain of profiles that the credentials of a profile come from.
//!
//! ```text
//!   prod (role_arn) ─source_profile─▶ hub (role_arn) ─source_profile─▶ base (keys, SSO, process)
//! ```

use super::Profiles;

/// A profile and its source profiles, the base last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session::aws) struct Chain {
    /// Never empty.
    pub(in crate::session::aws) profiles: Vec<String>,
}

/// Errors of the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::session::aws) enum ChainError {
    /// The profile does not exist.
    #[error("the profile {name:?} does not exist; {alternatives}")]
    Missing {
        name: String,
        /// A section that was probably meant, or the names of existing profiles.
        alternatives: String,
    },
    /// A `source_profile` does not exist.
    #[error(
        "the profile {profile:?} names the source_profile {name:?}, which does not exist; {alternatives}"
    )]
    MissingSource {
        /// The profile that names it.
        profile: String,
        name: String,
        /// A section that was probably meant, or the names of existing profiles.
        alternatives: String,
    },
    /// The chain contains a loop.
    #[error("the source_profile chain of {profile:?} is a loop")]
    Loop {
        /// The profile that closes the loop.
        profile: String,
    },
}

impl Profiles {
    /// Follows `source_profile` from a profile.
    ///
    /// # Errors
    ///
    /// Fails if a profile does not exist, or the chain contains a loop.
    pub(in crate::session::aws) fn chain(&self, name: &str) -> Result<Chain, ChainError> {
        if !self.contains(name) {
            let (name, alternatives) = (name.to_owned(), self.alternatives(name));
            return Err(ChainError::Missing { name, alternatives });
        }
        let mut profiles = vec![name.to_owned()];
        let mut last = name;
        while let Some(next) = self.source_of(last) {
            // The keys of a source have priority over its role.
            if profiles.len() > 1 && self.has_keys(last) {
                break;
            }
            if !self.contains(next) {
                return Err(ChainError::MissingSource {
                    profile: last.to_owned(),
                    name: next.to_owned(),
                    alternatives: self.alternatives(next),
                });
            }
            if profiles.iter().any(|seen| seen == next) {
                let profile = last.to_owned();
                return Err(ChainError::Loop { profile });
            }
            profiles.push(next.to_owned());
            last = next;
        }
        Ok(Chain { profiles })
    }

    fn has_keys(&self, profile: &str) -> bool {
        let keys = ["aws_access_key_id", "aws_secret_access_key"];
        keys.iter().all(|key| self.get(profile, key).is_some())
    }

    /// Returns the source profile of a role. A profile that names itself uses its own keys for its
    /// role.
    fn source_of(&self, profile: &str) -> Option<&str> {
        self.get(profile, "role_arn")?;
        let is_web_identity = self.get(profile, "web_identity_token_file").is_some();
        let source = self.get(profile, "source_profile")?;
        (!is_web_identity && source != profile).then_some(source)
    }

    /// Returns what exists in place of a profile: a section that was probably meant, or the names
    /// of the other profiles.
    fn alternatives(&self, missing: &str) -> String {
        if let Some(problem) = self.misnamed.get(missing) {
            return problem.to_string();
        }
        let names: Vec<_> = self
            .names()
            .take(MAX_NAMES)
            .map(|name| format!("{name:?}"))
            .collect();
        match (names.is_empty(), self.names().count() > MAX_NAMES) {
            (true, _) => match &self.absent[..] {
                [] => "the AWS files contain no profiles".to_owned(),
                absent => {
                    let absent: Vec<_> = absent
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect();
                    format!(
                        "the AWS files contain no profiles; missing: {}",
                        absent.join(", ")
                    )
                }
            },
            (false, false) => format!("existing profiles: {}", names.join(", ")),
            (false, true) => format!("existing profiles: {}, …", names.join(", ")),
        }
    }
}

/// Maximum number of profiles in a message.
const MAX_NAMES: usize = 12;
