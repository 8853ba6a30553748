//! Help texts that do not belong to a single option: the groups of the commands, and examples.

mod examples;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use clap::builder::styling::Style;
use clap::{Command, CommandFactory};

use super::Cli;
pub(super) use examples::{Example, of};

/// A heading of the list of commands.
pub(super) struct Group {
    /// The heading, without a colon.
    pub(super) heading: &'static str,
    /// The names of its commands.
    pub(super) commands: &'static [&'static str],
}

/// The groups of the commands. Every command is in one of them.
pub(super) const GROUPS: &[Group] = &[
    Group {
        heading: "Forward ports",
        commands: &[
            "forward",
            "exec",
            "connect",
            "relay",
            "ssh-config",
            "plugin",
        ],
    },
    Group {
        heading: "Prepare and check",
        commands: &[
            "targets",
            "init",
            "check",
            "doctor",
            "iam-policy",
            "hosts",
            "token",
        ],
    },
    Group {
        heading: "Run and operate the daemon",
        commands: &[
            "run", "status", "top", "wait", "reload", "stop", "close", "log",
        ],
    },
    Group {
        heading: "Try and test without AWS",
        commands: &["demo", "simulate"],
    },
    Group {
        heading: "Documentation and shells",
        commands: &["man", "completions", "schema", HELP],
    },
];

/// Returns the command line interface with grouped commands and examples.
pub(super) fn command() -> Command {
    let mut command = Cli::command();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}\n{{options}}\n\n{LAST_LINE}\n",
        groups(&command),
        heading("Options")
    );
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        if let Some(text) = examples_of(&name) {
            command = command.mut_subcommand(name, |command| command.after_help(text));
        }
    }
    command.help_template(template)
}

/// Returns the lists of commands, below their headings.
fn groups(command: &Command) -> String {
    let mut text = String::new();
    let names = GROUPS.iter().flat_map(|group| group.commands);
    let width = names.map(|name| name.len()).max().unwrap_or_default();
    for group in GROUPS {
        put(&mut text, format_args!("{}\n", heading(group.heading)));
        for name in group.commands {
            let bold = Style::new().bold();
            let about = about(command, name);
            put(
                &mut text,
                format_args!("  {bold}{name:<width$}{bold:#}  {about}\n"),
            );
        }
        text.push('\n');
    }
    text
}

/// Returns the sentence that describes a command.
pub(super) fn about(command: &Command, name: &str) -> String {
    match command.find_subcommand(name).and_then(Command::get_about) {
        Some(about) => about.to_string(),
        None => "Print this message, or the help of a command".to_owned(),
    }
}

fn heading(text: &str) -> String {
    let style = Style::new().bold().underline();
    format!("{style}{text}:{style:#}")
}

/// Returns the examples of a command, if it has any.
fn examples_of(name: &str) -> Option<String> {
    let examples = of(name);
    if examples.is_empty() {
        return None;
    }
    let mut text = heading("Examples");
    for Example { purpose, line } in examples {
        put(&mut text, format_args!("\n  {purpose}:\n      {line}"));
    }
    Some(text)
}

/// Writing to a string does not fail.
fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).unwrap_or_default();
}

/// The command that clap adds.
const HELP: &str = "help";

const LAST_LINE: &str =
    "`ssm-proxyd COMMAND --help` has examples, `ssm-proxyd man | man -l -` shows the manual.";
