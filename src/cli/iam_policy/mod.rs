//! `iam-policy`: the least IAM policy for forwards of the configuration, as JSON.
//!
//! Nothing is asked of AWS: what the files do not have is `*` in an ARN. Each identity has a policy
//! of its own: a profile, and each role that is assumed with it.

mod identity;
mod place;
mod policy;
mod statements;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::identity::{Duties, Identity, database, identities};
use self::policy::Policy;
use self::statements::Extras;
use super::completions::forward_names;
use super::database_login::User;
use super::exit::Exit;
use super::{environment, paths, stdout, terminal};
use crate::config::{self, Forward, closest_match};

#[derive(Args, Debug)]
pub(super) struct IamPolicyArgs {
    /// Forwards of the configuration [default: all that are enabled]
    #[arg(value_name = "NAME", add = forward_names())]
    names: Vec<String>,
    /// The configuration file [default: as for `run`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The policy of the credentials of this profile; `default` if the forwards have none
    #[arg(long, value_name = "PROFILE", value_parser = config::argument("profile"))]
    profile: Option<String>,
    /// The policy of this role, which the forwards assume
    #[arg(
        long,
        value_name = "ARN",
        conflicts_with = "profile",
        value_parser = config::argument("role_arn"),
    )]
    role_arn: Option<String>,
    /// Print an array of all identities, each with its policy
    #[arg(long, conflicts_with_all = ["profile", "role_arn"])]
    all: bool,
    /// Also allow `connect` to ports of these targets, as for ssh
    #[arg(long)]
    ssh: bool,
    /// Also allow to push ssh keys to these instances (EC2 Instance Connect); implies --ssh
    #[arg(long)]
    push_key: bool,
    /// Also allow to log in to the databases of the forwards as this user, with a token (`token`,
    /// `exec --db-user`); may be repeated
    #[arg(long, value_name = "USER")]
    db_user: Vec<User>,
    /// Also allow the lookups of `doctor` and `targets`: managed nodes, and these documents
    #[arg(long)]
    doctor: bool,
}

/// Prints the policy of one identity, or those of all.
pub(super) fn iam_policy(args: &IamPolicyArgs) -> Exit {
    match prepare(args) {
        Ok(identities) => print(args, identities),
        Err(exit) => exit,
    }
}

/// Reads the configuration, and returns the identities of the forwards.
fn prepare(args: &IamPolicyArgs) -> Result<BTreeMap<Identity, Duties>, Exit> {
    let (path, mut config) = paths::read(args.config.as_deref())
        .map_err(|error| terminal::fail_with_rendered(Exit::Configuration, &error))?;
    environment::apply(&mut config.aws).map_err(|bad| bad.fail())?;
    let forwards = select(&config.forwards, &args.names).map_err(|(what, hint)| {
        let error = format!("{} has {what}", path.display());
        terminal::fail(Exit::Usage, &error, &hint)
    })?;
    let has_database = |user| {
        forwards
            .iter()
            .any(|forward| database(forward, user).is_some())
    };
    if !args.db_user.iter().all(has_database) {
        let error = "--db-user: the destination of none of the forwards is a database";
        return Err(terminal::fail(Exit::Usage, &error, DATABASE_HINT));
    }
    let users = &args.db_user;
    Ok(identities(&config.aws, &forwards, users, extras(args)))
}

/// Returns the forwards with these names, or all that are enabled; else an error and a hint.
fn select(known: &[Forward], names: &[String]) -> Result<Vec<Forward>, (String, String)> {
    let all = || known.iter().map(|forward| forward.name.as_str());
    let mut selected = Vec::new();
    for name in names {
        let Some(found) = known.iter().find(|forward| forward.name == *name) else {
            let hint = match closest_match(name, all()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("its forwards: {}", listed(all())),
            };
            return Err((format!("no forward {name:?}"), hint));
        };
        selected.push(found.clone());
    }
    if names.is_empty() {
        selected.extend(known.iter().filter(|forward| forward.enabled).cloned());
    }
    match selected.is_empty() {
        true => Err((
            "no forward that is enabled".to_owned(),
            format!("name one: {}", listed(all())),
        )),
        false => Ok(selected),
    }
}

fn print(args: &IamPolicyArgs, mut identities: BTreeMap<Identity, Duties>) -> Exit {
    if args.all {
        return print_all(args, identities);
    }
    let wanted = match (&args.profile, &args.role_arn) {
        (Some(profile), _) => Some(Identity::Profile(profile.clone())),
        (None, Some(role)) => Some(Identity::Role(role.clone())),
        (None, None) => None,
    };
    let wanted = match (wanted, identities.len()) {
        (Some(wanted), _) => Some(wanted),
        (None, 1) => identities.keys().next().cloned(),
        (None, _) => None,
    };
    match wanted.and_then(|wanted| identities.remove_entry(&wanted)) {
        Some((identity, duties)) => {
            let forwards = listed(duties.forwards.iter().map(String::as_str));
            note(&format!("for the {identity}; forwards: {forwards}"));
            duties.needs_of_others().iter().for_each(|text| note(text));
            let policy = duties.policy(extras(args));
            explain(&policy);
            sent(&serde_json::to_string_pretty(&policy))
        }
        None => choose(args, &identities),
    }
}

/// Reports that an identity must be chosen, or that there is none as chosen.
fn choose(args: &IamPolicyArgs, identities: &BTreeMap<Identity, Duties>) -> Exit {
    let options = identities.iter().map(|(identity, duties)| {
        let forwards = listed(duties.forwards.iter().map(String::as_str));
        format!("`{}` ({forwards})", identity.option())
    });
    let hint = format!(
        "choose one: {}; or all: `--all`",
        options.collect::<Vec<_>>().join(", ")
    );
    let error = match args.profile.is_some() || args.role_arn.is_some() {
        true => "the forwards do not use this identity",
        false => "the forwards use several identities, each of which needs a policy of its own",
    };
    terminal::fail(Exit::Usage, &error, &hint)
}

fn print_all(args: &IamPolicyArgs, identities: BTreeMap<Identity, Duties>) -> Exit {
    let all = identities.into_iter().map(|(identity, mut duties)| {
        let (profile, role_arn) = match identity {
            Identity::Profile(name) => (Some(name), None),
            Identity::Role(arn) => (None, Some(arn)),
        };
        IdentityPolicy {
            profile,
            role_arn,
            forwards: std::mem::take(&mut duties.forwards),
            others: duties.needs_of_others(),
            policy: duties.policy(extras(args)),
        }
    });
    let all: Vec<_> = all.collect();
    let others = all.iter().flat_map(|identity| &identity.others);
    others.for_each(|text| note(text));
    sent(&serde_json::to_string_pretty(&all))
}

/// An element of the output of `--all`.
#[derive(Debug, Serialize)]
struct IdentityPolicy {
    profile: Option<String>,
    role_arn: Option<String>,
    forwards: Vec<String>,
    /// Printed on stderr.
    #[serde(skip)]
    others: Vec<String>,
    policy: Policy,
}

fn sent(text: &serde_json::Result<String>) -> Exit {
    match text {
        Ok(text) => super::control::sent(stdout::print_text(&format!("{text}\n"))),
        Err(error) => terminal::fail(Exit::Failed, error, "please report it"),
    }
}

/// Explains on stderr what is wider than it could be.
fn explain(policy: &Policy) {
    let unrestricted: Vec<_> = policy.unrestricted().collect();
    if !unrestricted.is_empty() {
        let actions = unrestricted.join(", ");
        note(&format!(
            "on \"*\", as AWS defines no resource for it: {actions}"
        ));
    }
    let part = |number| {
        let mut parts = policy
            .resources()
            .filter_map(move |arn| arn.split(':').nth(number));
        parts.any(|part| part == "*")
    };
    if part(3) {
        note("the region is not known: set `region`, or replace `*` in the ARNs");
    }
    if part(4) {
        note("the account is not known without asking AWS: replace `*` in the ARNs by its number");
    }
    if policy.resources().any(|arn| arn.contains(":document/AWS-")) {
        note(
            "the documents of AWS allow every port, or host and port, that the target can reach; a document of your own can fix both (`document`, `parameters`)",
        );
    }
    if policy.resources().any(|arn| arn.contains(":dbuser:*/")) {
        note(
            "the resource ids of the databases are not in the configuration: replace `*` in `dbuser:*/…` by them (`db-…`, `cluster-…` or `prx-…`, in the details of the database at RDS)",
        );
    }
    let length = policy.length();
    if length > MAX_LENGTH {
        note(&format!(
            "the policy has {length} characters, and a managed policy at most {MAX_LENGTH}: name fewer forwards at once, or use tags"
        ));
    }
}

fn note(text: &str) {
    terminal::send(&format!("note: {text}"));
}

fn extras(args: &IamPolicyArgs) -> Extras {
    Extras {
        ssh: args.ssh,
        push_key: args.push_key,
        doctor: args.doctor,
    }
}

/// Lists names, up to a limit.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let more = if names.len() > MAX_LISTED {
        ", …"
    } else {
        ""
    };
    format!("{}{more}", names[..names.len().min(MAX_LISTED)].join(", "))
}

const DATABASE_HINT: &str =
    "name a forward whose `remote` is an endpoint of RDS, or a host at port 5432 or 3306";

/// Maximum number of names in a list.
const MAX_LISTED: usize = 20;

/// Maximum length of a managed policy, without white space.
const MAX_LENGTH: usize = 6144;
