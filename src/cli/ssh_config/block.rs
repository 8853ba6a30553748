//! The block that makes ssh use `connect`.
//!
//! ```text
//!   Host i-????????????????? …            typed ids, tags, and the patterns of the user
//!   Match final host i-?????????????????,…    aliases whose HostName is one of those
//! ```
//!
//! ssh applies a `Host` line to the typed name. `Match final` makes it read its configuration a
//! second time and compare with the `HostName` that it has found. By default, only what can be an
//! id or a tag is matched, so that no other host is affected.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::identity::Identity;
use crate::printable::shell_word;

/// What the block consists of.
pub(super) struct Block<'a> {
    /// Path of this program.
    pub(super) program: &'a Path,
    /// Options of `connect`.
    pub(super) options: &'a [String],
    /// Patterns of the user.
    pub(super) hosts: &'a [HostPattern],
    /// The key that is pushed to EC2 instances, if there is one.
    pub(super) identity: Option<&'a Identity>,
    /// Whether aliases are matched by their `HostName`.
    pub(super) follows_aliases: bool,
}

impl fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "# ssh to managed nodes through AWS Session Manager, by ssm-proxyd: `ssh USER@i-…`, or\n\
             # `ssh USER@i-….REGION` for another region.\n",
        )?;
        let hosts = self.hosts.iter().map(|HostPattern(pattern)| &pattern[..]);
        let Some(identity) = self.identity else {
            let ids = INSTANCES.into_iter().chain(HYBRID_NODES);
            let hosts: Vec<_> = ids.chain([TAGS]).chain(hosts).collect();
            return self.write_hosts(f, &hosts, &self.settings(None));
        };
        // First, as ssh uses the first value that it finds.
        let excluded = hosts.clone().filter(|pattern| pattern.starts_with('!'));
        let hybrid: Vec<_> = HYBRID_NODES.into_iter().chain(excluded).collect();
        f.write_str("# Keys can be pushed to EC2 instances only.\n")?;
        self.write_hosts(f, &hybrid, &self.settings(None))?;
        let hosts: Vec<_> = INSTANCES.into_iter().chain([TAGS]).chain(hosts).collect();
        self.write_hosts(f, &hosts, &self.settings(Some(identity)))
    }
}

impl Block<'_> {
    /// Writes the settings of some hosts.
    fn write_hosts(
        &self,
        f: &mut fmt::Formatter<'_>,
        hosts: &[&str],
        settings: &str,
    ) -> fmt::Result {
        write!(f, "Host {}\n{settings}", hosts.join(" "))?;
        if self.follows_aliases {
            write!(
                f,
                "# Aliases, by their HostName.\nMatch final host {}\n{settings}",
                hosts.join(",")
            )?;
        }
        Ok(())
    }

    /// Returns the settings of hosts, with the key that is pushed to them.
    fn settings(&self, identity: Option<&Identity>) -> String {
        let path = self.program.display().to_string();
        let words = [quoted(&path), "connect".to_owned()].into_iter();
        let words = words.chain(self.options.iter().map(|option| quoted(option)));
        let pushed = identity.map(|identity| {
            let key = quoted(&identity.public_key);
            format!("--push-key {key} --user %r")
        });
        let words = words.chain(pushed).chain(["%h %p".to_owned()]);
        let command = words.collect::<Vec<_>>().join(" ");
        let settings = identity.map(Identity::settings).unwrap_or_default();
        format!("    ProxyCommand {command}\n{settings}")
    }
}

/// Quotes an argument for the shell that ssh runs the command with, and escapes ssh's `%` tokens.
fn quoted(argument: &str) -> String {
    shell_word(&argument.replace('%', "%%"))
}

/// A pattern of hosts: letters, digits and the wildcards of ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPattern(String);

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/+@*?".contains(c);
        let host = text.strip_prefix('!').unwrap_or(text);
        if host.is_empty() || !host.chars().all(is_allowed) || host.starts_with('-') {
            return Err("use letters, digits, `*`, `?` and `._-:/+@`: web-*".to_owned());
        }
        if !host.contains(|c: char| c.is_ascii_alphanumeric()) {
            return Err(
                "it would match every host; begin with a part of the name: web-*".to_owned(),
            );
        }
        if host.contains(|c: char| c.is_ascii_uppercase()) && !host.contains(':') {
            let lower = text.to_ascii_lowercase();
            return Err(format!("ssh writes host names in lower case: {lower}"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Patterns of the ids of EC2 instances, with and without a region.
const INSTANCES: [&str; 4] = [
    "i-?????????????????",
    "i-?????????????????.*-*-*",
    "i-????????",
    "i-????????.*-*-*",
];

/// Patterns of the ids of other nodes.
const HYBRID_NODES: [&str; 2] = ["mi-?????????????????", "mi-?????????????????.*-*-*"];

/// Pattern of tags.
const TAGS: &str = "tag:*";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_names_the_program_the_options_and_the_hosts() {
        let options = ["--profile".to_owned(), "my prod".to_owned()];
        let hosts = [HostPattern("web-*".to_owned())];
        let block = Block {
            program: Path::new("/opt/it's 100%/ssm-proxyd"),
            options: &options,
            hosts: &hosts,
            identity: None,
            follows_aliases: true,
        };
        let command =
            r"ProxyCommand '/opt/it'\''s 100%%/ssm-proxyd' connect --profile 'my prod' %h %p";

        let text = block.to_string();

        assert_eq!(text.matches(command).count(), 2, "{text}");
        assert!(text.contains("\nHost i-????????????????? "), "{text}");
        assert!(text.contains(" tag:* web-*\n"), "{text}");
        assert!(
            text.contains("\nMatch final host i-?????????????????,"),
            "{text}"
        );
        assert!(text.contains(",tag:*,web-*\n"), "{text}");
    }

    #[test]
    fn an_old_ssh_gets_no_match_that_it_does_not_know() {
        let block = Block {
            program: Path::new("/usr/bin/ssm-proxyd"),
            options: &[],
            hosts: &[],
            identity: None,
            follows_aliases: false,
        };

        let text = block.to_string();

        assert!(!text.contains("Match"), "{text}");
        assert!(text.ends_with("\n    ProxyCommand /usr/bin/ssm-proxyd connect %h %p\n"));
    }

    #[test]
    fn a_pattern_names_hosts_and_not_all_of_them() {
        for good in ["bastion", "web-*", "*.prod", "!web-old", "tag:*"] {
            assert!(good.parse::<HostPattern>().is_ok(), "{good}");
        }
        for bad in [
            "", "!", "*", "*.*", "a b", "a,b", "a\nHost", "Web", "-x", "a\"", "%h", "#a",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
        // Before OpenSSH 8.7, `=` separates patterns: `tag:Role` and `*`.
        assert!("tag:Role=*".parse::<HostPattern>().is_err());
    }
}
