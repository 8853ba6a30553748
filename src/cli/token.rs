//! `token`: a password for a database of RDS or Aurora with IAM authentication.
//!
//! stdout gets the token and a newline, and nothing else. The token is signed for the real endpoint,
//! which is the destination of a forward, with the credentials that start its sessions.

use std::path::PathBuf;

use clap::Args;

use super::ad_hoc::{blocking, with_flags};
use super::aws_options::AwsOptions;
use super::completions::names_with_destination;
use super::database_login::{User, destination, note_other_region, note_unknown, report};
use super::exit::Exit;
use super::{environment, paths, startup, stdout, terminal};
use crate::config::{Config, Forward, Remote, closest_match};
use crate::daemon::database_token;
use crate::session::{DatabaseLogin, allow_prompts};
use crate::telemetry::{self, Log, Verbosity};

#[derive(Args, Debug)]
pub(super) struct TokenArgs {
    /// The forward of the configuration whose `remote` is the endpoint of the database
    #[arg(value_name = "NAME", add = names_with_destination())]
    name: String,
    /// The user of the database
    #[arg(long, value_name = "USER")]
    user: User,
    /// The endpoint of the database, if `remote` is another name or address of it
    #[arg(long, value_name = "HOST:PORT")]
    remote: Option<Remote>,
    /// The configuration file [default: as for `run`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    aws: AwsOptions,
}

/// Prints a token.
pub(super) async fn token(args: TokenArgs, log: Log) -> Exit {
    let mut signals = match startup::start(log, Verbosity::Warn) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    allow_prompts(telemetry::flush_log);
    let signing = async {
        let Prepared {
            config,
            forward,
            login,
        } = blocking(move || prepare(args)).await?;
        let signed = database_token(config.aws, &forward, &login).await;
        signed.map_err(|error| report(&error))
    };
    let signed = tokio::select! {
        signed = signing => signed,
        // Nothing has been started that must be ended.
        number = signals.next_stop_number() => return Exit::Signal(number),
    };
    match signed {
        Ok(token) => stdout::print_line(token.expose())
            .map_or_else(|unheard| unheard.exit(), |()| Exit::Done),
        Err(exit) => exit,
    }
}

/// What a token is signed for, and with which settings.
struct Prepared {
    config: Config,
    forward: Forward,
    login: DatabaseLogin,
}

/// Reads the configuration; reports an error.
fn prepare(args: TokenArgs) -> Result<Prepared, Exit> {
    let TokenArgs {
        name,
        user,
        remote,
        config,
        aws,
    } = args;
    let (path, mut config) = paths::read(config.as_deref())
        .map_err(|error| terminal::fail_with_rendered(Exit::Configuration, &error))?;
    let found = config.forwards.iter().find(|forward| forward.name == name);
    let forward = found.cloned().ok_or_else(|| {
        let error = format!("{} has no forward {name:?}", path.display());
        terminal::fail(Exit::Usage, &error, &other_names(&config, &name))
    })?;
    environment::apply(&mut config.aws).map_err(|bad| bad.fail())?;
    let region = aws.region.clone();
    let login = destination(remote.as_ref().unwrap_or(&forward.remote), user).map_err(|why| {
        let (what, hint) = match remote {
            Some(_) => ("--remote".to_owned(), ENDPOINT),
            None => (format!("forward {name:?}"), FORWARD),
        };
        terminal::fail(Exit::Usage, &format!("{what}: {why}"), hint)
    })?;
    note_unknown(&login);
    note_other_region(&login, region.as_deref());
    Ok(Prepared {
        forward: with_flags(forward, aws),
        config,
        login,
    })
}

/// Returns a hint with names of forwards.
fn other_names(config: &Config, name: &str) -> String {
    let names = || config.forwards.iter().map(|forward| forward.name.as_str());
    match closest_match(name, names()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => {
            let listed: Vec<_> = names().take(MAX_LISTED).collect();
            let more = if listed.len() < config.forwards.len() {
                ", …"
            } else {
                ""
            };
            format!("its forwards: {}{more}", listed.join(", "))
        }
    }
}

const ENDPOINT: &str = "write the endpoint of the database: \
                        --remote orders.abc.eu-west-1.rds.amazonaws.com:5432";
const FORWARD: &str = "name a forward whose `remote` is the endpoint of the database, or add \
                       `--remote ENDPOINT:PORT`";

/// Maximum number of names in a hint.
const MAX_LISTED: usize = 20;
