//! `check`: validates a configuration and prints its effect.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::exit::Exit;
use super::{environment, paths, run, stdout, terminal};
use crate::config::{
    Aws, Config, EcsTarget, EcsTasks, Forward, Listen, Remote, SessionMode, Target, Targets,
    format_size,
};
use crate::daemon::StartError;
use crate::duration::written;
use crate::network::{self, Network};
use crate::session;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The configuration file [default: as for `run`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads the configuration and prints its effect. Does not access the network.
pub(super) fn check(args: &CheckArgs) -> Exit {
    let (path, mut config) = match paths::read(args.config.as_deref()) {
        Ok(read) => read,
        Err(error) => return terminal::fail_with_rendered(Exit::Configuration, &error),
    };
    if let Err(bad) = environment::apply(&mut config.aws) {
        return bad.fail();
    }
    environment::apply_manager(&mut config.shutdown);
    // Does not connect to anything.
    if let Err(error) = Network::new(config.aws.ca_bundle.as_deref()) {
        return run::report_start_error(&path, &error.into());
    }
    if let Some(proxy) = &config.aws.proxy
        && let Err(error) = network::Proxy::new(proxy.expose(), &proxy.exempt)
    {
        return run::report_start_error(&path, &error.into());
    }
    if let Err(error) = check_profiles(&config) {
        return run::report_start_error(&path, &error);
    }
    let summary = match args.json {
        true => stdout::print_json(json(&path, &config)),
        false => stdout::print_text(&text(&path, &config)),
    };
    match summary {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    }
}

/// Looks up the profiles that `run` would use.
fn check_profiles(config: &Config) -> Result<(), StartError> {
    let forwards = config.forwards.iter().filter(|forward| forward.enabled);
    for Forward {
        name,
        line,
        account,
        ..
    } in forwards
    {
        let profile = account.merged_into(&config.aws).profile;
        let looked_up = session::check_profile(profile.as_deref(), account.profile.is_some());
        let looked_up = looked_up.and_then(|()| match config.aws.ca_bundle {
            Some(_) => Ok(()),
            None => session::ProfileBundle::read(profile.as_deref()).map(drop),
        });
        looked_up.map_err(|source| match account.is_default_account() {
            true => StartError::Aws(source),
            false => StartError::Forward {
                name: name.clone(),
                line: *line,
                source,
            },
        })?;
    }
    Ok(())
}

/// Keys of a table and their effective values, as in the file. Both outputs are made of them.
type Rows = Vec<(&'static str, Value)>;

fn json(path: &Path, config: &Config) -> Value {
    let object = |rows: Rows| rows.into_iter().collect::<Value>();
    let forwards = config.forwards.iter();
    let forwards = forwards.map(|forward| object(forward_rows(&config.aws, forward)));
    // A path that is not UTF-8 has no exact form in JSON.
    let mut json =
        json!({ "config": path.to_string_lossy(), "forwards": forwards.collect::<Value>() });
    for (name, rows) in tables(config) {
        json[name] = rows.map_or(Value::Null, object);
    }
    json
}

fn text(path: &Path, config: &Config) -> String {
    let count = config.forwards.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("{} is valid: {count} forward{plural}\n", path.display());
    for (name, rows) in tables(config) {
        text += &section(&format!("[{name}]"), rows.unwrap_or_default());
    }
    for forward in &config.forwards {
        let header = if forward.is_proxy() {
            "[[proxy]]"
        } else {
            "[[forward]]"
        };
        text += &section(header, forward_rows(&config.aws, forward));
    }
    text
}

/// Formats a table, without the keys that have no value.
fn section(header: &str, rows: Rows) -> String {
    let rows = rows
        .iter()
        .filter_map(|(key, value)| Some((key, shown(value)?)));
    let rows: String = rows
        .map(|(key, value)| format!("  {key:22}{value}\n"))
        .collect();
    match rows.as_str() {
        "" => rows,
        _ => format!("\n{header}\n{rows}"),
    }
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().filter_map(shown).collect();
            Some(values.join(", ")).filter(|text| !text.is_empty())
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .filter_map(|(key, value)| Some((key, shown(value)?)));
            let members: Vec<_> = members
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            let members = members.join(", ");
            Some(format!("{{ {members} }}")).filter(|_| !members.is_empty())
        }
    }
}

/// Returns the tables that occur once; `None`: switched off.
fn tables(config: &Config) -> [(&'static str, Option<Rows>); 6] {
    let Config {
        aws,
        limits,
        shutdown,
        log,
        http,
        admin,
        forwards: _,
    } = config;
    let aws = vec![
        ("region", json!(aws.region)),
        ("profile", json!(aws.profile)),
        ("role_arn", json!(aws.role_arn)),
        ("ssm_endpoint", json!(aws.ssm_endpoint)),
        ("ecs_endpoint", json!(aws.ecs_endpoint)),
        (
            "ec2_instance_connect_endpoint",
            json!(aws.ec2_instance_connect_endpoint),
        ),
        ("ssmmessages_endpoint", json!(aws.ssmmessages_endpoint)),
        ("ca_bundle", json!(aws.ca_bundle)),
        ("proxy", json!(aws.proxy.as_ref().map(ToString::to_string))),
        (
            "no_proxy",
            json!(aws.proxy.as_ref().map(|proxy| &proxy.exempt)),
        ),
        (
            "client_version",
            json!(aws.client_version.as_ref().map(ToString::to_string)),
        ),
    ];
    let limits = vec![
        ("max_connections", json!(limits.max_connections)),
        ("session_start_rate", json!(limits.session_start_rate)),
    ];
    let shutdown = vec![("drain_timeout", json!(written(shutdown.drain_timeout)))];
    let log = vec![
        ("format", json!(log.format.as_str())),
        ("level", json!(log.level.as_str())),
    ];
    let http = http.as_ref().map(|http| {
        vec![
            ("listen", addresses(&http.listen)),
            ("allow_remote_clients", json!(http.allow_remote_clients)),
            ("hosts", json!(http.hosts)),
        ]
    });
    let admin = vec![("socket", json!(admin.socket))];
    [
        ("aws", Some(aws)),
        ("limits", Some(limits)),
        ("shutdown", Some(shutdown)),
        ("log", Some(log)),
        ("http", http),
        ("admin", Some(admin)),
    ]
}

fn forward_rows(aws: &Aws, forward: &Forward) -> Rows {
    // Of one region, whatever names it; else that of the targets that name none.
    let aws = match &forward.accounts()[..] {
        [only] => only.merged_into(aws),
        _ => forward.account.merged_into(aws),
    };
    let mut rows = vec![
        ("name", json!(forward.name)),
        ("enabled", json!(forward.enabled)),
        ("listen", addresses(&forward.listen)),
        ("mode", json!(format!("{:04o}", forward.mode))),
        ("target", targets(&forward.target)),
    ];
    let (remote, parameters) = destination(&forward.remote);
    rows.extend([
        remote,
        ("region", json!(aws.region)),
        ("profile", json!(aws.profile)),
        ("role_arn", json!(aws.role_arn)),
        ("document", json!(forward.documents().join(", "))),
        ("parameters", parameters),
        ("reason", json!(forward.reason)),
    ]);
    rows.extend(session_rows(forward));
    rows.extend([
        ("keep_alive", json!(forward.keep_alive)),
        ("connect_timeout", json!(written(forward.connect_timeout))),
        ("resume_timeout", json!(written(forward.resume_timeout))),
        (
            "half_close_timeout",
            json!(written(forward.half_close_timeout)),
        ),
        ("upload_rate", json!(forward.upload.rate)),
        ("upload_payload", json!(forward.upload.payload)),
        (
            "upload_window",
            json!(format_size(forward.upload.window as u64)),
        ),
        ("max_connections", json!(forward.max_connections)),
        ("allow_remote_clients", json!(forward.allow_remote_clients)),
        ("explain", json!(forward.explain.as_str())),
    ]);
    rows
}

/// Returns the row of the destination, and the parameters of the document.
fn destination(remote: &Remote) -> ((&'static str, Value), Value) {
    match remote {
        Remote::Document { parameters, .. } => (("remote", Value::Null), json!(parameters)),
        Remote::Port(_) | Remote::Host { .. } => {
            (("remote", json!(remote.to_string())), Value::Null)
        }
        Remote::Requested(allow) => {
            let rules = allow.rules().iter();
            let rules = rules.map(ToString::to_string).collect();
            (("allow", rules), Value::Null)
        }
    }
}

fn session_rows(forward: &Forward) -> Rows {
    if forward.is_proxy() {
        return Rows::new();
    }
    if let Some(relay) = forward.relay {
        return vec![
            ("relay", json!(relay.port)),
            ("stripes", json!(relay.stripes)),
            ("compress", json!(relay.compress.as_str())),
        ];
    }
    let mut rows = vec![("sessions", json!(forward.sessions.as_str()))];
    rows.extend(match forward.sessions {
        SessionMode::PerConnection { warm, warm_max_age } => [
            ("warm", json!(warm)),
            ("warm_max_age", json!(written(warm_max_age))),
        ],
        SessionMode::Shared {
            max_streams,
            max_age,
        } => [
            ("max_streams", json!(max_streams)),
            (
                "max_session_age",
                json!(written(max_age.unwrap_or_default())),
            ),
        ],
    });
    rows
}

fn addresses(listen: &[Listen]) -> Value {
    listen.iter().map(ToString::to_string).collect()
}

/// Formats targets as in the file: a single one is not an array.
fn targets(targets: &Targets) -> Value {
    let targets = targets.iter().map(|target| match target {
        Target::Node { .. } => json!(target.to_string()),
        Target::Tags(tags) => json!({ "tags": tags }),
        Target::Ecs(target) => json!({ "ecs": ecs(target) }),
    });
    let mut targets: Vec<_> = targets.collect();
    match targets.len() {
        1 => targets.remove(0),
        _ => Value::Array(targets),
    }
}

/// Formats a target in ECS as a table.
fn ecs(target: &EcsTarget) -> Value {
    let (key, name) = match &target.tasks {
        EcsTasks::Service(name) => ("service", name),
        EcsTasks::Family(name) => ("family", name),
    };
    let mut table = json!({ "cluster": target.cluster, key: name });
    if let Some(container) = &target.container {
        table["container"] = json!(container);
    }
    table
}
