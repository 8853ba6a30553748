//! The statements that sessions of forwards need.

use std::collections::{BTreeMap, BTreeSet};

use super::place::Place;
use super::policy::{ANY, Statement};
use crate::config::Target;
use crate::session::DatabaseLogin;

/// What is allowed besides the forwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extras {
    /// `connect` to ports of the targets, as ssh does.
    pub(super) ssh: bool,
    /// Keys of ssh that are pushed to the targets.
    pub(super) push_key: bool,
    /// What `doctor` looks up besides a session.
    pub(super) doctor: bool,
}

/// What the sessions of the forwards of one identity use.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// ARNs of nodes and tasks that are named by ids.
    nodes: BTreeSet<String>,
    /// Those of them that are instances of EC2.
    instances: BTreeSet<String>,
    /// Nodes that are named by tags, and where they are.
    tagged: BTreeMap<Tags, BTreeSet<Place>>,
    /// Clusters of ECS whose tasks are looked up, and the tasks.
    clusters: BTreeSet<String>,
    tasks: BTreeSet<String>,
    documents: BTreeSet<String>,
    /// Users of databases.
    logins: BTreeSet<String>,
    places: BTreeSet<Place>,
}

type Tags = BTreeMap<String, String>;

impl Usage {
    /// Adds a target of a forward and the document of its sessions.
    pub(super) fn add(&mut self, target: &Target, document: &str, place: &Place, extras: Extras) {
        self.places.insert(place.clone());
        self.documents.insert(place.document(document));
        if extras.ssh || extras.push_key {
            self.documents.insert(place.document(SSH_DOCUMENT));
        }
        match target {
            Target::Node { id, region: _ } => {
                let arn = place.node(id);
                if extras.push_key && id.starts_with("i-") {
                    self.instances.insert(arn.clone());
                }
                self.nodes.insert(arn);
            }
            Target::Tags(tags) => {
                let places = self.tagged.entry(tags.clone()).or_default();
                places.insert(place.clone());
            }
            Target::Ecs(target) => {
                let cluster = place.cluster(&target.cluster);
                // Which tasks a service has is known only when a session starts.
                let tasks = cluster.replacen(":cluster/", ":task/", 1) + "/*";
                self.nodes.insert(tasks.clone());
                self.tasks.insert(tasks);
                self.clusters.insert(cluster);
            }
        }
    }

    /// Adds a login with a token. `place` is that of the forward.
    pub(super) fn add_login(&mut self, login: &DatabaseLogin, place: &Place) {
        let arn = place.database_user(&login.user, login.region());
        self.logins.insert(arn);
    }

    /// Returns the statements, in a fixed order. Some may have no resource.
    pub(super) fn statements(self, extras: Extras) -> Vec<Statement> {
        let Self {
            nodes,
            instances,
            tagged,
            clusters,
            tasks,
            documents,
            logins,
            places,
        } = self;
        let sessions: BTreeSet<_> = places
            .iter()
            .map(|place| place.arn("ssm", OWN_SESSIONS))
            .collect();
        let mut statements = vec![start("StartSessions", nodes)];
        for (number, (tags, places)) in numbered(&tagged) {
            let sid = format!("StartSessionsByTags{number}");
            let resources = resources(places, &["ec2 instance/*", "ssm managed-instance/*"]);
            statements.push(with_tags(start(sid, resources), "ssm:resourceTag", tags));
        }
        let described = match extras.doctor {
            true => documents.clone(),
            false => BTreeSet::new(),
        };
        statements.push(start("UseDocuments", documents));
        let action = &["ssm:DescribeDocument"];
        statements.push(Statement::new("DescribeDocuments", action, described));
        statements.push(Statement::new(
            "ResumeAndEndOwnSessions",
            &["ssm:ResumeSession", "ssm:TerminateSession"],
            sessions.clone(),
        ));
        let action = &["ssmmessages:OpenDataChannel"];
        statements.push(Statement::new("ConnectToOwnSessions", action, sessions));
        statements.push(Statement::new(
            "FindUnansweredSessions",
            &["ssm:DescribeSessions"],
            any(!places.is_empty()),
        ));
        statements.push(Statement::new(
            "FindNodes",
            &["ssm:DescribeInstanceInformation"],
            any(!tagged.is_empty() || extras.doctor),
        ));
        for (number, cluster) in numbered(&clusters) {
            let sid = format!("ListTasks{number}");
            let statement = Statement::new(sid, &["ecs:ListTasks"], any(true));
            let key = "ecs:cluster".to_owned();
            statements.push(statement.when("ArnLike", key, cluster.clone()));
        }
        let action = &["ecs:DescribeTasks"];
        statements.push(Statement::new("DescribeTasks", action, tasks));
        let action = &["ec2-instance-connect:SendSSHPublicKey"];
        statements.push(Statement::new("PushKeys", action, instances));
        for (number, (tags, places)) in numbered(&tagged).filter(|_| extras.push_key) {
            let sid = format!("PushKeysByTags{number}");
            let statement = Statement::new(sid, action, resources(places, &["ec2 instance/*"]));
            statements.push(with_tags(statement, "aws:ResourceTag", tags));
        }
        let action = &["rds-db:connect"];
        statements.push(Statement::new("LogInToDatabases", action, logins));
        statements
    }
}

/// Returns the statement that allows an identity to assume roles.
pub(super) fn assume(roles: BTreeSet<String>) -> Statement {
    Statement::new("AssumeRoles", &["sts:AssumeRole"], roles)
}

/// Returns a statement for StartSession, which AWS checks for the target and for the document.
/// Without the condition, a session without a document, a shell, would be allowed too.
fn start(sid: impl Into<String>, resources: BTreeSet<String>) -> Statement {
    Statement::new(sid, &["ssm:StartSession"], resources).when(
        "BoolIfExists",
        "ssm:SessionDocumentAccessCheck".to_owned(),
        "true".to_owned(),
    )
}

/// Adds the condition that the resource has these tags.
fn with_tags(statement: Statement, key: &str, tags: &Tags) -> Statement {
    tags.iter().fold(statement, |statement, (name, value)| {
        // `${` begins a variable.
        let value = value.replace('$', "${$}");
        statement.when("StringEquals", format!("{key}/{name}"), value)
    })
}

/// Returns the ARNs of resources, each a service and a resource, in all places.
fn resources(places: &BTreeSet<Place>, resources: &[&str]) -> BTreeSet<String> {
    let split = resources.iter().filter_map(|text| text.split_once(' '));
    split
        .flat_map(|(service, resource)| {
            places.iter().map(move |place| place.arn(service, resource))
        })
        .collect()
}

/// Numbers the entries from 1; the only one has no number.
fn numbered<T: IntoIterator<IntoIter: ExactSizeIterator>>(
    entries: T,
) -> impl Iterator<Item = (String, T::Item)> {
    let entries = entries.into_iter();
    let is_only = entries.len() == 1;
    entries.enumerate().map(move |(index, entry)| {
        let number = match is_only {
            true => String::new(),
            false => (index + 1).to_string(),
        };
        (number, entry)
    })
}

/// Returns every resource, if it is used at all.
fn any(is_used: bool) -> BTreeSet<String> {
    let any = is_used.then(|| ANY.to_owned());
    any.into_iter().collect()
}

/// Sessions that the caller has started, as in the policies of AWS's documentation.
const OWN_SESSIONS: &str = "session/${aws:userid}-*";

/// Document of `connect` without `--remote`.
const SSH_DOCUMENT: &str = "AWS-StartSSHSession";
