//! An IAM policy as JSON, in the usual order of keys.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A policy document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

impl Policy {
    /// Creates a policy of these statements, without those that have no resource.
    pub(super) fn new(statements: Vec<Statement>) -> Self {
        let mut statement = statements;
        statement.retain(|statement| !statement.resource.is_empty());
        Self {
            version: "2012-10-17",
            statement,
        }
    }

    /// Returns all resources.
    pub(super) fn resources(&self) -> impl Iterator<Item = &str> {
        let statements = self.statement.iter();
        statements.flat_map(|statement| statement.resource.iter().map(String::as_str))
    }

    /// Returns the actions that are allowed on every resource without a condition.
    pub(super) fn unrestricted(&self) -> impl Iterator<Item = &'static str> {
        let statements = self.statement.iter();
        let open = statements
            .filter(|statement| statement.resource.contains(ANY) && statement.condition.is_empty());
        open.flat_map(|statement| statement.action.iter().copied())
    }

    /// Returns the number of characters that count against the quotas of IAM.
    pub(super) fn length(&self) -> usize {
        let text = serde_json::to_string(self).unwrap_or_default();
        text.chars().filter(|c| !c.is_whitespace()).count()
    }
}

/// One statement, which allows something.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statement {
    sid: String,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<String, String>>,
}

impl Statement {
    /// Creates a statement without conditions. `sid` consists of letters and digits.
    pub(super) fn new(
        sid: impl Into<String>,
        action: &[&'static str],
        resource: BTreeSet<String>,
    ) -> Self {
        Self {
            sid: sid.into(),
            effect: "Allow",
            action: action.to_vec(),
            resource,
            condition: BTreeMap::new(),
        }
    }

    /// Adds a condition.
    pub(super) fn when(mut self, operator: &'static str, key: String, value: String) -> Self {
        let keys = self.condition.entry(operator).or_default();
        keys.insert(key, value);
        self
    }
}

/// The resource of an action for which AWS defines none.
pub(super) const ANY: &str = "*";
