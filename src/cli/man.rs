//! `man`: manual pages, generated from the same texts as `--help`.

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::exit::Exit;
use super::{Cli, stdout, terminal};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The page of this command [default: the page of the program]
    command: Option<String>,
}

/// Prints a page, for `man -l -`.
pub(super) fn man(args: &ManArgs) -> Exit {
    let mut program = Cli::command();
    program.build();
    let page = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                let error = format!("unknown command {name:?}");
                return terminal::fail(
                    Exit::Usage,
                    &error,
                    "`ssm-proxyd --help` lists the commands",
                );
            }
        },
    };
    let mut text = Vec::new();
    if let Err(error) = Man::new(page).render(&mut text) {
        return terminal::fail(Exit::Failed, &error, "");
    }
    match stdout::print(String::from_utf8_lossy(&text)) {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    }
}
