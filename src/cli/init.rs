//! `init`: writes a first configuration file.
//!
//! Without `--target` it looks for managed nodes that are online, and uses the only one. It asks
//! nothing: several nodes are listed, and one must be chosen. An existing file is never changed.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::ad_hoc::{ad_hoc_without_file, blocking};
use super::aws_options::AwsOptions;
use super::exit::Exit;
use super::{paths, startup, stdout, targets, terminal};
use crate::config::{self, Remote, Target};
use crate::daemon::{ListedTarget, TargetQuery};
use crate::error_class::ErrorClass;
use crate::files;
use crate::printable::shell_word;
use crate::session::allow_prompts;
use crate::telemetry::{self, Log, Verbosity};

#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// The managed node, as for `connect` [default: the only one that is online]
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// The destination: a host that the target can reach, or a port of the target [default: 22]
    #[arg(long, value_name = "HOST:PORT|PORT")]
    remote: Option<String>,
    /// The local address, as in the file [default: the port of the destination, or one above 1023]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The name of the forward [default: from the destination]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The file to write; `-` prints it [default: $SSM_PROXYD_CONFIG, else ~/.config/ssm-proxyd/config.toml]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    aws: AwsOptions,
}

/// Writes the file, and prints its path.
pub(super) async fn init(args: InitArgs, log: Log) -> Exit {
    let mut signals = match startup::start(log, Verbosity::Warn) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    allow_prompts(telemetry::flush_log);
    tokio::select! {
        written = write(args) => written.unwrap_or_else(|exit| exit),
        number = signals.next_stop_number() => Exit::Signal(number),
    }
}

async fn write(mut args: InitArgs) -> Result<Exit, Exit> {
    let output = args.output.take();
    let place = blocking(move || Place::of(output)).await?;
    let target = match args.target.take() {
        Some(target) => target,
        None => {
            let (target, region) = only_target(args.aws.clone()).await?;
            // The target is in no other region, whatever the environment of the daemon says.
            args.aws.region.get_or_insert(region);
            target
        }
    };
    let text = file(&target, &args)?;
    let printed = match place {
        Place::Stdout => stdout::print_text(&text),
        Place::File { path, option } => {
            let shown = path.display().to_string();
            blocking(move || create(&path, &text)).await?;
            let printed = stdout::print_line(shown);
            let next = format!(
                "`ssm-proxyd doctor{option}` checks it, `ssm-proxyd run{option}` starts it"
            );
            terminal::send(&next);
            printed
        }
    };
    Ok(match printed {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    })
}

/// Where the file is written.
enum Place {
    Stdout,
    File {
        path: PathBuf,
        /// The option with which other commands find it; empty if they need none.
        option: String,
    },
}

impl Place {
    /// Fails early if the file exists. Blocks.
    fn of(output: Option<PathBuf>) -> Result<Self, Exit> {
        let (path, option) = match output {
            Some(path) if path == Path::new("-") => return Ok(Self::Stdout),
            Some(path) => {
                let word = shell_word(&path.display().to_string());
                (path, format!(" --config {word}"))
            }
            None => (first_place()?, String::new()),
        };
        match std::fs::symlink_metadata(&path) {
            Ok(_) => Err(exists(&path)),
            // Creating the file reports the error.
            Err(_) => Ok(Self::File { path, option }),
        }
    }
}

fn first_place() -> Result<PathBuf, Exit> {
    paths::first_place().ok_or_else(|| {
        let error = "HOME is not set";
        terminal::fail(Exit::Usage, &error, "name the file with `--output FILE`")
    })
}

fn exists(path: &Path) -> Exit {
    let error = format!("{} exists; it is not changed", path.display());
    let hint = "add a [[forward]] to it, or write another file with `--output FILE`; `--output -` prints one";
    terminal::fail_with_class(ErrorClass::BadConfiguration, &error, hint)
}

/// Writes a new file, and its directory if there is none.
fn create(path: &Path, text: &str) -> Result<(), Exit> {
    let cannot = |what: &str, path: &Path, error: &io::Error| {
        let (path, why) = (path.display(), terminal::os_message(error));
        let error = format!("cannot {what} {path}: {why}");
        let hint = "name another file with `--output FILE`; `--output -` prints it";
        terminal::fail(Exit::Failed, &error, hint)
    };
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    if let Some(directory) = directory {
        let created = std::fs::create_dir_all(directory);
        created.map_err(|error| cannot("create the directory", directory, &error))?;
    }
    let mode = match terminal::is_root() {
        // The file of a system service, which runs as another user. It has no secrets.
        true => 0o644,
        false => 0o600,
    };
    let created = files::create(path, text.as_bytes(), mode);
    created.map_err(|error| match error.kind() == io::ErrorKind::AlreadyExists {
        true => exists(path),
        false => cannot("write", path, &error),
    })
}

/// Returns the only managed node that is online, and its region.
async fn only_target(options: AwsOptions) -> Result<(String, String), Exit> {
    // A file of another place does not apply to the new one.
    let basis = ad_hoc_without_file(&[])?;
    let words = options.to_args();
    let list = targets::list_all(basis, options, &TargetQuery::Nodes(Vec::new())).await?;
    let region = list.region;
    let online = list.targets.into_iter().filter(|target| target.is_online);
    let online: Vec<_> = online.collect();
    match &online[..] {
        [ListedTarget { id, .. }] if !list.is_cut => Ok((id.to_string(), region.to_string())),
        [] => {
            let error = format!("no managed node in {region} is online");
            let hint = "choose another `--region` or `--profile`, or name one with `--target`";
            let class = ErrorClass::TargetNotFound;
            Err(terminal::fail_with_class(class, &error, hint))
        }
        _ => Err(several(&online, &region, list.is_cut, &words)),
    }
}

/// Lists some of the targets, one of which must be chosen.
fn several(online: &[ListedTarget], region: &str, is_cut: bool, options: &[String]) -> Exit {
    let shown = &online[..online.len().min(MAX_LISTED)];
    let table = targets::table(shown, terminal::width(io::stderr()));
    terminal::send(&table.trim_end());
    let least = if is_cut { "at least " } else { "" };
    let count = online.len();
    let error = format!("{least}{count} managed nodes in {region} are online");
    let options = options.iter().map(|word| format!(" {}", shell_word(word)));
    let options: String = options.collect();
    let hint =
        format!("choose one with `--target`; `ssm-proxyd targets --online{options}` lists them");
    terminal::fail_with_class(ErrorClass::TargetAmbiguous, &error, &hint)
}

/// Returns the text of the file. It is valid.
fn file(target: &str, args: &InitArgs) -> Result<String, Exit> {
    let usage = |error: config::ValueError| terminal::fail(Exit::Usage, &error, error.hint());
    let _valid: Target = target.parse().map_err(usage)?;
    let remote = args.remote.as_deref().unwrap_or(SSH);
    let destination = match remote.parse::<u16>() {
        Ok(port) => Remote::Port(port),
        Err(_) => remote.parse().map_err(usage)?,
    };
    let text = format!(
        "{HEAD}{}{}",
        account(&args.aws),
        forward(target, &destination, args)
    );
    match config::parse(&text) {
        Ok(_) => Ok(text),
        Err(problems) => Err(terminal::fail_with_rendered(Exit::Usage, &problems)),
    }
}

/// Formats the AWS settings; one that is not given is an example in a comment.
fn account(aws: &AwsOptions) -> String {
    let AwsOptions {
        region,
        profile,
        role_arn,
    } = aws;
    let settings = [
        ("region", region, "eu-west-1"),
        ("profile", profile, "prod"),
        (
            "role_arn",
            role_arn,
            "arn:aws:iam::111122223333:role/tunnel",
        ),
    ];
    let lines = settings.map(|(key, value, example)| match value {
        Some(value) => format!("{key} = {}\n", quoted(value)),
        None => format!("# {key} = {}\n", quoted(example)),
    });
    lines.concat()
}

fn forward(target: &str, destination: &Remote, args: &InitArgs) -> String {
    let (host, port) = match destination {
        Remote::Port(port) => (None, *port),
        Remote::Host { host, port } => (Some(host.as_str()), *port),
        Remote::Document { .. } | Remote::Requested(_) => (None, 0),
    };
    let (remote, remote_note) = match host {
        Some(_) => (
            quoted(&destination.to_string()),
            "host and port that the target can reach",
        ),
        None => (port.to_string(), "a port of the target itself"),
    };
    let listen = match &args.listen {
        // A port or an address, as in the file.
        Some(listen) => listen.parse().map_err(|_| quoted(listen)),
        None => Ok(local_port(port)),
    };
    let listen = match listen {
        Ok(port) => format!("{port}    # 127.0.0.1 and ::1"),
        Err(address) => address,
    };
    let name = args.name.clone().unwrap_or_else(|| name_of(host, port));
    let (name, target) = (quoted(&name), quoted(target));
    format!(
        "\n[[forward]]\nname = {name}\nlisten = {listen}\ntarget = {target}\n\
         remote = {remote}    # {remote_note}\n"
    )
}

/// Returns the name of a forward to a destination.
fn name_of(host: Option<&str>, port: u16) -> String {
    let label = host.and_then(|host| host.split('.').next());
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_name = |label: &&str| {
        label.starts_with(|c: char| c.is_ascii_alphabetic())
            && label.chars().all(is_letter)
            && label.len() <= MAX_NAME
    };
    match (label.filter(is_name), port) {
        (Some(label), _) => label.to_owned(),
        (None, 22) => "ssh".to_owned(),
        (None, port) => format!("port-{port}"),
    }
}

/// Returns the port itself, or one that needs no privilege.
fn local_port(port: u16) -> u16 {
    match port {
        22 => 2222,
        80 => 8080,
        443 => 8443,
        privileged @ ..1024 => 10_000 + privileged,
        port => port,
    }
}

/// Formats a string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

const HEAD: &str = "\
# Configuration of ssm-proxyd. All settings: ssm-proxyd schema, or config/ssm-proxyd.toml of the
# source. `ssm-proxyd check` validates this file, `ssm-proxyd doctor` tests its forwards.

[aws]    # optional: the usual AWS environment and files apply
";

/// The default destination: sshd of the target.
const SSH: &str = "22";

/// Maximum length of a derived name.
const MAX_NAME: usize = 64;

/// Maximum number of targets that are listed.
const MAX_LISTED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_are_derived_from_the_destination() {
        let derived = [
            (Some("orders.internal"), 5432),
            (Some("10.0.0.1"), 3306),
            (Some("bücher.internal"), 80),
            (None, 22),
            (None, 389),
        ];
        let derived = derived.map(|(host, port)| (name_of(host, port), local_port(port)));

        let expected = [
            ("orders", 5432),
            ("port-3306", 3306),
            ("port-80", 8080),
            ("ssh", 2222),
            ("port-389", 10_389),
        ];
        assert_eq!(
            derived,
            expected.map(|(name, port)| (name.to_owned(), port))
        );
    }

    #[test]
    fn a_string_is_quoted() {
        assert_eq!(quoted("a\"b\\c\u{1b}"), r#""a\"b\\c\u001B""#);
    }
}
