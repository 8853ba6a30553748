//! Forwards of the configuration that a command without a daemon uses, each on a free port.

use std::collections::BTreeMap;
use std::path::Path;

use super::ad_hoc::with_flags;
use super::aws_options::AwsOptions;
use super::exit::Exit;
use super::forward_variables::{names_in, variable_part};
use super::relay_flags::RelayFlags;
use super::{environment, paths, terminal};
use crate::config::{Config, Forward, Listen, Target, closest_match};

/// Which forwards are used, and what overrides their settings.
#[derive(Debug)]
pub(super) struct NamedForwards<'a> {
    /// The names, at least one.
    pub(super) names: &'a [String],
    /// The configuration file, if not that of `run`.
    pub(super) file: Option<&'a Path>,
    /// The `reason` of all.
    pub(super) reason: Option<String>,
    pub(super) aws: AwsOptions,
    pub(super) relay: &'a RelayFlags,
    /// Arguments whose placeholders refer to the forwards.
    pub(super) command: &'a [String],
}

impl NamedForwards<'_> {
    /// Returns the configuration with these forwards only, in the order of the names, without warm
    /// sessions.
    pub(super) fn read(self) -> Result<Config, Exit> {
        let Self {
            names,
            file,
            reason,
            aws,
            relay,
            command,
        } = self;
        let (path, mut config) = paths::read(file)
            .map_err(|error| terminal::fail_with_rendered(Exit::Configuration, &error))?;
        let selected = select(&config.forwards, names)
            .and_then(|selected| {
                check_placeholders(&config.forwards, names, command).map(|()| selected)
            })
            .map_err(|error| error.fail(&path))?;
        environment::apply(&mut config.aws).map_err(|bad| bad.fail())?;
        config.forwards = selected;
        for forward in &mut config.forwards {
            let own = with_flags(forward.clone(), aws.clone());
            let label = format!("the forward {:?}", own.name);
            let applied = relay.apply(own, &label, false);
            *forward = applied.map_err(|error| error.fail())?;
            forward.listen = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
            forward.reason = reason.clone().or_else(|| forward.reason.take());
        }
        Ok(config)
    }
}

/// Returns the forwards with these names.
fn select(known: &[Forward], names: &[String]) -> Result<Vec<Forward>, NameError> {
    let mut selected = Vec::new();
    let mut variables = BTreeMap::new();
    for name in names {
        let forward = known.iter().find(|forward| forward.name == *name);
        let forward = forward.ok_or_else(|| unknown(known, name))?;
        if forward.is_proxy() {
            let what = format!("{name:?} is a proxy, whose clients choose the destination");
            return Err(NameError::new(what, PROXY_HINT));
        }
        selected.push(forward.clone());
        let part = variable_part(name);
        match variables.insert(part.clone(), name) {
            Some(other) if other == name => {
                let what = format!("the forward {name:?} was named twice");
                return Err(NameError::new(what, "name each forward once"));
            }
            Some(other) => {
                let what = format!(
                    "the forwards {other:?} and {name:?} have the same variable SSM_PROXYD_{part}_PORT"
                );
                let hint = "rename one of them, or use two `exec`, one in the other";
                return Err(NameError::new(what, hint));
            }
            None => {}
        }
    }
    Ok(selected)
}

fn unknown(known: &[Forward], name: &str) -> NameError {
    let names = || known.iter().map(|forward| forward.name.as_str());
    let hint = match closest_match(name, names()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if matches!(name.parse(), Ok(Target::Node { .. } | Target::Ecs(_))) => {
            format!(
                "to forward to a port of this target, add -L: `exec {name} -L 0:HOST:PORT -- …`"
            )
        }
        None => {
            let listed = names().take(MAX_LISTED).collect::<Vec<_>>().join(", ");
            let more = if known.len() > MAX_LISTED {
                ", …"
            } else {
                ""
            };
            format!("its forwards: {listed}{more}; for a target, add -L")
        }
    };
    NameError {
        what: format!("no forward {name:?}"),
        hint,
        of_file: true,
    }
}

/// Rejects a placeholder for a forward that exists but was not named: it would not be replaced.
fn check_placeholders(
    known: &[Forward],
    names: &[String],
    command: &[String],
) -> Result<(), NameError> {
    let mut used = command.iter().flat_map(|argument| names_in(argument));
    let is_missing = |name: &str| {
        let is_known = known.iter().any(|forward| forward.name == name);
        is_known && !names.iter().any(|named| named == name)
    };
    used.find(|name| is_missing(name)).map_or(Ok(()), |name| {
        let what = format!("the command uses the forward {name:?}, which was not named");
        let hint = format!("add it: `exec {} {name} -- …`", names.join(" "));
        Err(NameError::new(what, hint))
    })
}

#[derive(Debug)]
struct NameError {
    what: String,
    hint: String,
    /// Whether the error is one of the configuration file.
    of_file: bool,
}

impl NameError {
    fn new(what: String, hint: impl Into<String>) -> Self {
        let (hint, of_file) = (hint.into(), false);
        Self {
            what,
            hint,
            of_file,
        }
    }

    fn fail(&self, path: &Path) -> Exit {
        let Self {
            what,
            hint,
            of_file,
        } = self;
        let error = match of_file {
            true => format!("{} has {what}", path.display()),
            false => what.clone(),
        };
        terminal::fail(Exit::Usage, &error, hint)
    }
}

const PROXY_HINT: &str = "start it with `ssm-proxyd run`, and set ALL_PROXY=socks5h://localhost:PORT \
                          for the command";

/// Maximum number of names in a hint.
const MAX_LISTED: usize = 20;
