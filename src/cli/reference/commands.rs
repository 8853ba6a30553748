//! The reference of the commands.

use clap::{Arg, ArgAction, Command};

use super::markdown::Page;
use crate::cli::help::{self, GROUPS};

/// Returns the page.
pub(super) fn page() -> String {
    let mut program = help::command();
    program.build();
    let mut page = Page::new("Commands", "ssm-proxyd reference cli");
    page.paragraph(INTRODUCTION);
    put_options(&mut page, program.get_arguments());
    for group in GROUPS {
        page.heading(2, group.heading);
        let commands = group.commands.iter();
        let known = commands.filter_map(|name| program.find_subcommand(name));
        known
            .filter(|command| command.get_name() != "help")
            .for_each(|command| put_command(&mut page, command));
    }
    page.finish()
}

fn put_command(page: &mut Page, command: &Command) {
    let name = command.get_name();
    page.heading(3, format_args!("`{name}`"));
    let about = command.get_about().map(ToString::to_string);
    page.paragraph(&format!("{}.", about.unwrap_or_default()));
    let usage = command.clone().render_usage().to_string();
    page.code("text", usage.trim_start_matches("Usage: "));
    let own = command.get_arguments();
    put_options(page, own.filter(|argument| !argument.is_global_set()));
    let examples = help::of(name);
    if !examples.is_empty() {
        let lines = examples
            .iter()
            .flat_map(|example| [format!("# {}", example.purpose), example.line.to_owned()]);
        page.code("sh", &lines.collect::<Vec<_>>().join("\n"));
    }
}

/// Lists arguments and options.
fn put_options<'a>(page: &mut Page, arguments: impl Iterator<Item = &'a Arg>) {
    let is_shown = |argument: &&Arg| {
        !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
    };
    let mut shown = arguments.filter(is_shown).peekable();
    if shown.peek().is_some() {
        page.begin();
    }
    for argument in shown {
        page.item(&syntax(argument), &description(argument));
    }
}

/// Returns an argument as written in a command line.
fn syntax(argument: &Arg) -> String {
    let flags = [
        argument.get_short().map(|short| format!("-{short}")),
        argument.get_long().map(|long| format!("--{long}")),
    ];
    let mut text = flags.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if argument.get_action().takes_values() {
        let names = argument.get_value_names().unwrap_or_default();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let is_optional = argument
            .get_num_args()
            .is_some_and(|count| count.min_values() == 0);
        if !text.is_empty() {
            text.push(' ');
        }
        match is_optional {
            true => text.extend(["[", &names.join(" "), "]"]),
            false => text.push_str(&names.join(" ")),
        }
    }
    if matches!(argument.get_action(), ArgAction::Count) {
        text.push_str(", repeatable");
    }
    text
}

/// Returns the description with possible values and the default.
fn description(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string);
    let mut text = help.unwrap_or_default();
    let values = argument.get_possible_values();
    let names: Vec<_> = values
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if argument.get_action().takes_values() && !names.is_empty() {
        text.extend([": ", &names.join(", ")]);
    }
    let defaults = argument.get_default_values();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        let defaults: Vec<_> = defaults
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        text.push_str(&format!(" [default: {}]", defaults.join(" ")));
    }
    text
}

const INTRODUCTION: &str = "`ssm-proxyd COMMAND --help` prints the same on a terminal, and `ssm-proxyd man COMMAND` as a manual page. Exit codes, signals, environment variables and JSON output are in [interfaces.md](interfaces.md). Every command accepts these options:";
