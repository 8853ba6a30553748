//! Region and account of a profile, as far as the AWS configuration files have them.

use aws_types::os_shim_internal::Env;

use super::files::{DEFAULT, Profiles};

/// Where the calls of a profile go, without asking AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfilePlace {
    /// Its region.
    pub region: Option<String>,
    /// The number of its account: that of its role, else that of its login.
    pub account: Option<String>,
    /// The ARNs of the roles that are assumed for the profile, each with the profile whose
    /// credentials do that.
    pub roles: Vec<(String, String)>,
}

impl ProfilePlace {
    /// Reads the place of this profile, or of the default one. `is_first` means that its
    /// credentials take precedence over those of the environment. Blocks.
    pub fn read(profile: Option<&str>, is_first: bool) -> Self {
        let env = Env::real();
        let keys = env.get("AWS_ACCESS_KEY_ID").unwrap_or_default();
        let has_keys = !is_first && !keys.trim().is_empty();
        Self::of(&Profiles::read(&env), profile.unwrap_or(DEFAULT), has_keys)
    }

    fn of(profiles: &Profiles, profile: &str, has_keys: bool) -> Self {
        let value = |key| profiles.get(profile, key).map(str::to_owned);
        let account = match value("role_arn") {
            Some(role) => account_of_role(&role),
            None => value("sso_account_id"),
        };
        Self {
            region: value("region"),
            account: account.filter(|_| !has_keys),
            roles: match has_keys {
                true => Vec::new(),
                false => roles(profiles, profile),
            },
        }
    }
}

/// Returns the roles in the chain of a profile, and what assumes them. A token of a web identity
/// needs no permission.
fn roles(profiles: &Profiles, profile: &str) -> Vec<(String, String)> {
    let chain = profiles.chain(profile).map(|chain| chain.profiles);
    let chain = chain.unwrap_or_default();
    let roles = chain.iter().enumerate().filter_map(|(place, profile)| {
        let is_base = place > 0 && place + 1 == chain.len();
        let by_token = profiles.get(profile, "web_identity_token_file").is_some();
        let role = profiles.get(profile, "role_arn");
        let role = role.filter(|_| !is_base && !by_token)?;
        let source = chain.get(place + 1).unwrap_or(profile);
        Some((role.to_owned(), source.clone()))
    });
    roles.collect()
}

/// Returns the account in the ARN of a role.
fn account_of_role(role: &str) -> Option<String> {
    let account = role.split(':').nth(4)?;
    Some(account.to_owned()).filter(|account| !account.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_account_is_that_of_the_role_or_of_the_login() {
        let mut profiles = Profiles::default();
        let text = "[default]\nregion = eu-west-1\n\
            [profile role]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = login\n\
            sso_account_id = 444455556666\n\
            [profile login]\nsso_account_id = 444455556666\n";
        profiles.add_config(Path::new("config"), text);
        let account = |profile, has_keys| ProfilePlace::of(&profiles, profile, has_keys).account;

        assert_eq!(account("role", false).as_deref(), Some("111122223333"));
        assert_eq!(account("login", false).as_deref(), Some("444455556666"));
        assert_eq!(
            (account("default", false), account("login", true)),
            (None, None)
        );
        let roles = |profile, has_keys| ProfilePlace::of(&profiles, profile, has_keys).roles;
        let role = "arn:aws:iam::111122223333:role/r".to_owned();
        assert_eq!(roles("role", false), [(role, "login".to_owned())]);
        assert_eq!(
            (roles("login", false), roles("role", true)),
            (vec![], vec![])
        );
        let region = ProfilePlace::of(&profiles, "default", true).region;
        assert_eq!(region.as_deref(), Some("eu-west-1"));
    }
}
