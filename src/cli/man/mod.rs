//! `man`: manual pages, generated from the same texts as `--help` and the JSON Schema.

mod page;
mod program;
mod settings;

use clap::builder::Resettable;
use clap::{Args, Command};
use clap_mangen::Man;

use self::page::Page;
use super::exit::Exit;
use super::{help, stdout, terminal};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The page of this command, or ssm-proxyd.toml for that of the configuration file [default:
    /// the page of the program]
    #[arg(value_name = "PAGE")]
    page: Option<String>,
}

/// Prints a page, for `man -l -`.
pub(super) fn man(args: &ManArgs) -> Exit {
    let mut program = help::command();
    program.build();
    let text = match args.page.as_deref() {
        None => of_program(program),
        Some(settings::NAME) => settings::page(),
        Some(name) => match program.find_subcommand(name) {
            Some(command) => of_command(command),
            None => {
                let error = format!("unknown page {name:?}");
                return terminal::fail(
                    Exit::Usage,
                    &error,
                    "`ssm-proxyd --help` lists the commands; the other page is ssm-proxyd.toml",
                );
            }
        },
    };
    match stdout::print(text) {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    }
}

fn of_program(program: Command) -> String {
    let mut page = Page::from_generated(&generated(program));
    program::put_sections(&mut page);
    page.finish()
}

fn of_command(command: &Command) -> String {
    let notes = command.get_after_long_help().map(ToString::to_string);
    let plain = command.clone().after_long_help(Resettable::Reset);
    let mut page = Page::from_generated(&generated(plain));
    if let Some(notes) = notes {
        page.heading("NOTES");
        page.verbatim(&notes);
    }
    let examples = help::of(command.get_name());
    if !examples.is_empty() {
        page.heading("EXAMPLES");
        examples.iter().for_each(|example| page.example(example));
    }
    page.heading("SEE ALSO");
    page.paragraph("`ssm-proxyd`(1), `ssm-proxyd.toml`(5)");
    page.finish()
}

/// Returns the sections that clap has the texts for.
fn generated(command: Command) -> String {
    let command = command.after_help(Resettable::Reset);
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let title = page::title(name, 1);
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    // Writing to memory does not fail.
    man.render(&mut text).unwrap_or_default();
    // The title that clap_mangen writes has no place for an empty date.
    let lines = String::from_utf8_lossy(&text);
    let lines = lines.lines().map(|line| match line.starts_with(".TH ") {
        true => &title,
        false => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Name of the collection of these pages.
const MANUAL: &str = "ssm-proxyd manual";

/// The package and its version.
const SOURCE: &str = concat!("ssm-proxyd ", env!("CARGO_PKG_VERSION"));
