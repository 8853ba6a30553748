//! `check`: validates a configuration and prints its effect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::exit::Exit;
use super::{environment, paths, run, stdout, terminal};
use crate::config::{
    self, Account, Aws, Config, Forward, Http, Listen, Proxy, Sessions, Target, Targets,
    written_size,
};
use crate::daemon::StartError;
use crate::duration;
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
        Err(error) => return terminal::fail_as_told(Exit::Configuration, &error),
    };
    if let Err(bad) = environment::apply(&mut config.aws) {
        return bad.fail();
    }
    environment::apply_manager(&mut config.shutdown);
    // Does not connect to anything.
    if let Err(error) = Network::new(config.aws.ca_bundle.as_deref()) {
        return run::explain(&path, &error.into());
    }
    if let Some(proxy) = &config.aws.proxy
        && let Err(error) = network::Proxy::new(proxy.expose(), &proxy.exempt)
    {
        return run::explain(&path, &error.into());
    }
    if let Err(error) = check_profiles(&config) {
        return run::explain(&path, &error);
    }
    let summary = match args.json {
        true => stdout::json(described(&path, &config)),
        false => stdout::printable(&summary(&path, &config)),
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
        let profile = account.within(&config.aws).profile;
        let looked_up = session::check_profile(profile.as_deref(), account.profile.is_some());
        let looked_up = looked_up.and_then(|()| match config.aws.ca_bundle {
            Some(_) => Ok(()),
            None => session::ProfileBundle::read(profile.as_deref()).map(drop),
        });
        looked_up.map_err(|source| match account.is_shared() {
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

fn summary(path: &Path, config: &Config) -> String {
    let count = config.forwards.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("{} is valid: {count} forward{plural}\n", path.display());
    let aws = &config.aws;
    let row = |name: &str, value: &str| format!("  {name:14}{value}\n");
    text += &row(
        "region",
        aws.region
            .as_deref()
            .unwrap_or("from the AWS configuration files"),
    );
    text += &row(
        "profile",
        aws.profile
            .as_deref()
            .unwrap_or("from the AWS configuration files"),
    );
    if let Some(role) = &aws.role_arn {
        text += &row("role", role);
    }
    if let Some(endpoint) = &aws.ssm_endpoint {
        text += &row("SSM API", endpoint);
    }
    if let Some(endpoint) = &aws.ssmmessages_endpoint {
        text += &row("data channels", endpoint);
    }
    if let Some(bundle) = &aws.ca_bundle {
        text += &row("CA bundle", &bundle.display().to_string());
    }
    if let Some(proxy) = &aws.proxy {
        text += &row("proxy", &proxied(proxy));
    }
    text += &row(
        "limits",
        &format!(
            "{} connections, {} StartSession calls per second",
            config.limits.max_connections, config.limits.session_start_rate
        ),
    );
    text += &row("shutdown", &stop(config.shutdown.drain_timeout));
    if let Some(http) = &config.http {
        text += &row("HTTP", &served(http));
    }
    for forward in &config.forwards {
        text += &format!("\n{}\n", forward.name);
        for (name, value) in rows(forward) {
            text += &row(name, &value);
        }
    }
    text
}

/// Formats a proxy without user and password.
fn proxied(proxy: &Proxy) -> String {
    match proxy.exempt.as_str() {
        "" => proxy.to_string(),
        exempt => format!("{proxy}, except for {exempt}"),
    }
}

fn stop(drain: Duration) -> String {
    match drain.is_zero() {
        true => "resets open connections".to_owned(),
        false => format!(
            "waits for open connections for {}",
            duration::written(drain)
        ),
    }
}

fn served(http: &Http) -> String {
    let listen = http.listen.iter().flat_map(|listen| each(listen, 0o600));
    let listen = listen.collect::<Vec<_>>().join(", ");
    match http.allow_remote_clients {
        true => format!("health and metrics on {listen}; remote clients allowed"),
        false => format!("health and metrics on {listen}"),
    }
}

fn rows(forward: &Forward) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("listen", addresses(forward).join(", ")),
        ("target", forward.target.to_string()),
        ("destination", forward.remote.to_string()),
        ("document", forward.document().to_owned()),
        ("sessions", sessions(forward)),
        (
            "connections",
            format!("{} at once", forward.max_connections),
        ),
        (
            "timeouts",
            format!(
                "connect {}, resume {}, half-close {}",
                duration::written(forward.connect_timeout),
                duration::written(forward.resume_timeout),
                duration::written(forward.half_close_timeout)
            ),
        ),
        ("upload", upload(forward)),
    ];
    if !forward.enabled {
        rows.insert(0, ("enabled", "no".to_owned()));
    }
    let Account {
        region,
        profile,
        role_arn,
    } = &forward.account;
    for (name, value) in [("region", region), ("profile", profile), ("role", role_arn)] {
        rows.extend(value.clone().map(|value| (name, value)));
    }
    if forward.allow_remote_clients {
        rows.push(("clients", "remote clients allowed".to_owned()));
    }
    rows
}

/// Returns each address separately.
fn addresses(forward: &Forward) -> Vec<String> {
    let listen = forward.listen.iter();
    listen
        .flat_map(|listen| each(listen, forward.mode))
        .collect()
}

fn each(listen: &Listen, mode: u32) -> Vec<String> {
    match listen {
        Listen::Localhost(0) => vec!["a free port on 127.0.0.1 and [::1]".to_owned()],
        Listen::Localhost(port) => vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")],
        Listen::Unix(_) => vec![format!("{listen} (mode {mode:04o})")],
        Listen::Systemd(name) => vec![format!("the systemd sockets {name:?}")],
        Listen::Tcp(_) => vec![listen.to_string()],
    }
}

fn sessions(forward: &Forward) -> String {
    let mut text = match forward.sessions {
        Sessions::PerConnection { warm: 0, .. } => "one per connection".to_owned(),
        Sessions::PerConnection { warm, warm_max_age } => format!(
            "one per connection; {warm} warm, each replaced after {}",
            duration::written(warm_max_age)
        ),
        Sessions::Shared {
            max_streams,
            max_age,
        } => {
            let age = max_age.map(duration::written);
            let age = age.map_or_else(String::new, |age| format!(", replaced after {age}"));
            format!("shared by up to {max_streams} connections{age}")
        }
    };
    if forward.keep_alive {
        text += "; keep-alive against the idle timeout";
    }
    text
}

fn upload(forward: &Forward) -> String {
    let rate = match forward.upload.rate {
        0 => "unlimited messages per second".to_owned(),
        rate => format!("{rate} messages per second"),
    };
    let window = written_size(forward.upload.window as u64);
    let payload = forward.upload.payload;
    format!("{rate}, up to {payload} bytes each, up to {window} unacknowledged")
}

fn described(path: &Path, config: &Config) -> Value {
    let Config {
        aws,
        limits,
        shutdown,
        log,
        http,
        admin,
        forwards,
    } = config;
    json!({
        // A path that is not UTF-8 has no exact form in JSON.
        "config": path.to_string_lossy(),
        "aws": {
            "region": aws.region,
            "profile": aws.profile,
            "role_arn": aws.role_arn,
            "ssm_endpoint": aws.ssm_endpoint,
            "ssmmessages_endpoint": aws.ssmmessages_endpoint,
            "ca_bundle": aws.ca_bundle,
            "proxy": aws.proxy.as_ref().map(ToString::to_string),
            "client_version": aws.client_version.as_ref().map(ToString::to_string),
        },
        "limits": {
            "max_connections": limits.max_connections,
            "session_start_rate": limits.session_start_rate,
        },
        "shutdown": { "drain_timeout": duration::written(shutdown.drain_timeout) },
        "log": { "format": log.format.as_str(), "level": log.level.as_str() },
        "http": http.as_ref().map(described_http),
        "admin": { "socket": admin.socket },
        "forwards": forwards.iter().map(|forward| described_forward(aws, forward)).collect::<Vec<_>>(),
    })
}

fn described_http(http: &Http) -> Value {
    let listen: Vec<String> = http.listen.iter().map(ToString::to_string).collect();
    json!({ "listen": listen, "allow_remote_clients": http.allow_remote_clients, "hosts": http.hosts })
}

/// Formats targets as in the file: a single one is not an array.
fn described_targets(targets: &Targets) -> Value {
    let described = targets.iter().map(|target| match target {
        Target::Node(id) => json!(id),
        Target::Tags(tags) => json!({ "tags": tags }),
    });
    let mut described: Vec<_> = described.collect();
    match described.len() {
        1 => described.remove(0),
        _ => Value::Array(described),
    }
}

fn described_forward(aws: &Aws, forward: &Forward) -> Value {
    let aws = forward.account.within(aws);
    let listen: Vec<String> = forward.listen.iter().map(ToString::to_string).collect();
    let mut described = json!({
        "name": forward.name,
        "enabled": forward.enabled,
        "listen": listen,
        "mode": format!("{:04o}", forward.mode),
        "target": described_targets(&forward.target),
        "remote": forward.remote.to_string(),
        "region": aws.region,
        "profile": aws.profile,
        "role_arn": aws.role_arn,
        "document": forward.document(),
        "keep_alive": forward.keep_alive,
        "max_connections": forward.max_connections,
        "connect_timeout": duration::written(forward.connect_timeout),
        "resume_timeout": duration::written(forward.resume_timeout),
        "half_close_timeout": duration::written(forward.half_close_timeout),
        "upload_rate": forward.upload.rate,
        "upload_payload": forward.upload.payload,
        "upload_window": written_size(forward.upload.window as u64),
        "allow_remote_clients": forward.allow_remote_clients,
    });
    match forward.sessions {
        Sessions::PerConnection { warm, warm_max_age } => {
            described["sessions"] = json!(config::settings::PER_CONNECTION);
            described["warm"] = json!(warm);
            described["warm_max_age"] = json!(duration::written(warm_max_age));
        }
        Sessions::Shared {
            max_streams,
            max_age,
        } => {
            described["sessions"] = json!(config::settings::SHARED);
            described["max_streams"] = json!(max_streams);
            described["max_session_age"] = json!(duration::written(max_age.unwrap_or_default()));
        }
    }
    described
}
