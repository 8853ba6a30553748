//! The identities that forwards use: profiles, and the roles that these assume.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::place::Place;
use super::policy::Policy;
use super::statements::{Extras, Usage, assume};
use crate::cli::database_login::{User, destination};
use crate::config::{Aws, Forward};
use crate::session::{DatabaseLogin, ProfilePlace};

/// Who needs a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    /// The user or role of a profile. `default` stands for the credentials that are used without a
    /// profile.
    Profile(String),
    /// A role that is assumed by this program.
    Role(String),
}

impl Identity {
    /// Returns the option that selects it.
    pub(super) fn option(&self) -> String {
        match self {
            Self::Profile(name) => format!("--profile {name}"),
            Self::Role(arn) => format!("--role-arn {arn}"),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Role(arn) => write!(f, "role {arn}"),
        }
    }
}

/// What an identity is used for.
#[derive(Debug, Default)]
pub(super) struct Duties {
    usage: Usage,
    roles: BTreeSet<String>,
    /// Roles that are assumed for its credentials, and the profiles that do that.
    assumed: BTreeSet<(String, String)>,
    /// Names of its forwards.
    pub(super) forwards: Vec<String>,
}

impl Duties {
    fn add_name(&mut self, name: &str) {
        if self.forwards.last().is_none_or(|last| last != name) {
            self.forwards.push(name.to_owned());
        }
    }

    /// Returns what others need so that these credentials exist: an explanation for each.
    pub(super) fn needs_of_others(&self) -> Vec<String> {
        let explained = self.assumed.iter().map(|(role, source)| {
            format!("the credentials of the profile {source} need sts:AssumeRole on {role}")
        });
        explained.collect()
    }

    /// Returns its policy.
    pub(super) fn policy(self, extras: Extras) -> Policy {
        let mut statements = self.usage.statements(extras);
        statements.push(assume(self.roles));
        Policy::new(statements)
    }
}

/// Returns the identities of these forwards, which log in to their databases as these users. Reads the
/// AWS configuration files.
pub(super) fn identities(
    aws: &Aws,
    forwards: &[Forward],
    users: &[User],
    extras: Extras,
) -> BTreeMap<Identity, Duties> {
    let mut identities = BTreeMap::<_, Duties>::new();
    let targets = forwards
        .iter()
        .flat_map(|forward| forward.target.iter().map(move |target| (forward, target)));
    for (forward, target) in targets {
        let own = forward.account_for(target);
        let Aws {
            region,
            profile,
            role_arn,
            ..
        } = own.merged_into(aws);
        let known = ProfilePlace::read(profile.as_deref(), own.profile.is_some());
        let region = region.or(known.region);
        let place = Place::new(region, known.account, role_arn.as_deref());
        let profile = Identity::Profile(profile.unwrap_or_else(|| DEFAULT.to_owned()));
        let of_profile = identities.entry(profile.clone()).or_default();
        of_profile.assumed.extend(known.roles);
        let caller = match role_arn {
            Some(role) => {
                let source = identities.entry(profile).or_default();
                source.roles.insert(role.clone());
                source.add_name(&forward.name);
                Identity::Role(role)
            }
            None => profile,
        };
        let duties = identities.entry(caller).or_default();
        for document in forward.documents() {
            duties.usage.add(target, document, &place, extras);
        }
        for login in users.iter().filter_map(|user| database(forward, user)) {
            duties.usage.add_login(&login, &place);
        }
        duties.add_name(&forward.name);
    }
    identities
}

/// Returns the login of a user if the destination of a forward is a database: an endpoint of RDS, or
/// another host at the port of a database.
pub(super) fn database(forward: &Forward, user: &User) -> Option<DatabaseLogin> {
    let login = destination(&forward.remote, user.clone()).ok()?;
    let is_database = login.region().is_some() || DATABASE_PORTS.contains(&login.port);
    is_database.then_some(login)
}

/// Ports of PostgreSQL and MySQL.
const DATABASE_PORTS: [u16; 2] = [5432, 3306];

/// The name of AWS's default profile.
const DEFAULT: &str = "default";
