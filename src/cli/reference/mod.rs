//! `reference`: the reference pages of the documentation, generated from the program.
//!
//! A hidden command. A test compares its output with `docs/cli.md` and `docs/configuration.md`.

pub(super) mod accepted;
mod commands;
mod markdown;
mod settings;

use clap::{Args, ValueEnum};

use super::exit::Exit;
use super::stdout;

#[derive(Debug, Args)]
pub(super) struct ReferenceArgs {
    /// The page
    page: Page,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    /// Commands and options
    Cli,
    /// Tables and keys of the configuration file
    Configuration,
}

/// Prints a page as Markdown.
pub(super) fn reference(args: &ReferenceArgs) -> Exit {
    let text = match args.page {
        Page::Cli => commands::page(),
        Page::Configuration => settings::page(),
    };
    match stdout::print(text) {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    }
}
