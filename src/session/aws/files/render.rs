//! Renders the profiles as a text that the SDK's parser accepts.

use std::fmt::Write;

use super::{Profiles, SectionKeys};

impl Profiles {
    /// Returns one configuration file for the SDK. It contains secrets.
    pub(in crate::session::aws) fn for_sdk(&self) -> String {
        let mut text = String::new();
        for (name, keys) in &self.profiles {
            self.render(&mut text, "profile", name, keys);
        }
        for (name, keys) in &self.sso_sessions {
            self.render(&mut text, "sso-session", name, keys);
        }
        for (name, keys) in &self.services {
            self.render(&mut text, "services", name, keys);
        }
        text
    }

    /// Replaces the aliases in a message of the SDK by the names of the profiles.
    pub(in crate::session::aws) fn without_aliases(&self, text: &str) -> String {
        let names = self.profiles.keys().chain(self.sso_sessions.keys());
        names.fold(text.to_owned(), |text, name| {
            text.replace(&Self::alias(name), name)
        })
    }

    /// Returns the name of a section in the text for the SDK.
    pub(in crate::session::aws) fn alias(name: &str) -> String {
        match !name.is_empty() && name.chars().all(is_of_identifier) {
            true => name.to_owned(),
            false => name.bytes().fold(ALIAS.to_owned(), |alias, byte| {
                alias + &format!("{byte:02x}")
            }),
        }
    }

    fn render(&self, text: &mut String, kind: &str, name: &str, keys: &SectionKeys) {
        line(text, format_args!("[{kind} {}]", Self::alias(name)));
        for (key, value) in keys
            .iter()
            .filter(|(key, value)| key.chars().all(is_of_identifier) && !value.is_empty())
        {
            let mut lines = value.split('\n');
            let first = lines.next().unwrap_or_default();
            match REFERENCES.contains(&key.as_str()) {
                true => line(text, format_args!("{key} = {}", Self::alias(first))),
                false => line(text, format_args!("{key} = {first}")),
            }
            // If the first line is empty, the SDK parses the others as nested keys.
            for nested in lines.filter(|nested| !first.is_empty() || is_pair(nested)) {
                line(text, format_args!("  {nested}"));
            }
        }
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _never = writeln!(text, "{line}");
}

fn is_pair(line: &str) -> bool {
    line.split_once('=')
        .is_some_and(|(key, _)| !key.trim().is_empty() && !key.contains(['#', ';']))
}

/// Returns whether the SDK allows a character in the names of profiles and keys.
fn is_of_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-/.%@:+".contains(c)
}

/// The keys whose value is the name of a section.
const REFERENCES: [&str; 3] = ["source_profile", "sso_session", "services"];

/// The prefix of an alias for a name that the SDK rejects.
const ALIAS: &str = "alias:";
