//! `completions`: shell completion of commands, options and forward names.
//!
//! The script calls this program for the candidates at the cursor, so it stays current as long as
//! both are of the same version.

use std::ffi::OsString;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{ArgValueCandidates, CompletionCandidate};

use super::exit::Exit;
use super::{Cli, paths, stdout, terminal, usage};
use crate::config;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

/// Prints the script that the shell reads at startup.
pub(super) fn completions(args: &CompletionsArgs) -> Exit {
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(args.shell.name()) else {
        return terminal::fail(Exit::Failed, &"unknown shell", "");
    };
    let mut script = Vec::new();
    if let Err(error) = shell.write_registration(COMPLETE_VARIABLE, NAME, NAME, NAME, &mut script) {
        return terminal::fail(Exit::Failed, &error, "");
    }
    match stdout::print(String::from_utf8_lossy(&script)) {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    }
}

/// Answers a completion request of the script. Returns `None` if this is not one.
pub(super) fn answer() -> Option<Exit> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let env = CompleteEnv::with_factory(Cli::command).var(COMPLETE_VARIABLE);
    match env.try_complete(words, None) {
        Ok(false) => None,
        Ok(true) => Some(Exit::Done),
        Err(error) => Some(usage(&error)),
    }
}

/// Returns the names of forwards and proxies in the configuration, if it is valid.
pub(super) fn forward_names() -> ArgValueCandidates {
    names(|_| true)
}

/// Returns the names of forwards with one destination, not those of proxies.
pub(super) fn names_with_destination() -> ArgValueCandidates {
    names(|forward| !forward.is_proxy())
}

fn names(is_offered: fn(&config::Forward) -> bool) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let config = paths::search(None).and_then(|path| config::read(&path));
        let forwards = config.map(|config| config.forwards).unwrap_or_default();
        let candidate = |forward: config::Forward| {
            let help = format!("{} via {}", forward.remote, forward.target);
            CompletionCandidate::new(forward.name).help(Some(help.into()))
        };
        forwards
            .into_iter()
            .filter(is_offered)
            .map(candidate)
            .collect()
    })
}

/// Environment variable set by the script in a completion request.
const COMPLETE_VARIABLE: &str = "SSM_PROXYD_COMPLETE";

const NAME: &str = "ssm-proxyd";
