//! What commands without a daemon take from elsewhere: `[aws]` and `[defaults]` of the file, and the
//! environment.

use std::io;

use super::exit::Exit;
use super::{environment, run, terminal};
use crate::config::{self, Config, Forward};

/// What a forward is made of that stands in no file.
#[derive(Debug)]
pub(super) struct AdHocConfig {
    /// Without a forward.
    pub(super) config: Config,
    /// Where it listens and whereto are not meant; its account is in the configuration.
    pub(super) forward: Forward,
}

/// Reads it. `keys` of the forward go before those of `[defaults]`.
pub(super) fn base(keys: &str) -> Result<AdHocConfig, Exit> {
    let own = format!("{FORWARD}{keys}");
    let read = run::search(None).map(|path| config::read_with(&path, &own));
    let without = || config::parse(&own).map_err(|problems| problems.to_string());
    let config = match read {
        Err(_nowhere) => without(),
        // That of a service on this machine concerns those only who may read it.
        Ok(Err(error)) if is_closed_to_us(&error) => without(),
        Ok(config) => config.map_err(|error| error.to_string()),
    };
    let mut config = config.map_err(|error| terminal::fail_as_told(Exit::Configuration, &error))?;
    let mut forward = config.forwards.pop().ok_or(Exit::Failed)?;
    let account = std::mem::take(&mut forward.account);
    config.aws = account.within(&config.aws);
    environment::apply(&mut config.aws).map_err(|bad| bad.fail())?;
    config.forwards.clear();
    Ok(AdHocConfig { config, forward })
}

/// Runs work that may block, such as reading a pipe in the place of a file, on a thread of its own:
/// a signal can end the wait for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Exit> + Send + 'static,
) -> Result<T, Exit> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| {
        let error = format!("internal error ({panic})");
        Err(terminal::fail(Exit::Failed, &error, "please report it"))
    })
}

/// Whether a file may not be read that nobody named.
fn is_closed_to_us(error: &config::Error) -> bool {
    let is_named = terminal::environment("SSM_PROXYD_CONFIG").is_some();
    let is_closed = matches!(
        error,
        config::Error::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied
    );
    is_closed && !is_named
}

/// The target, and the region that may stand behind it: `i-….eu-west-1`.
pub(super) fn split_target(host: &str) -> (&str, Option<&str>) {
    match host.split_once('.') {
        Some((target, region)) if !target.contains(':') => (target, Some(region)),
        _ => (host, None),
    }
}

/// A forward whose target, destination and document are not these.
const FORWARD: &str = r#"
[[forward]]
name = "ssm-proxyd.base"
listen = "127.0.0.1:0"
target = "i-0123456789abcdef0"
remote = 22
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_may_stand_behind_the_target() {
        assert_eq!(
            split_target("i-0123456789abcdef0.eu-west-1"),
            ("i-0123456789abcdef0", Some("eu-west-1"))
        );
        assert_eq!(split_target("i-0123"), ("i-0123", None));
        assert_eq!(split_target("ecs:a.b_c_d"), ("ecs:a.b_c_d", None));
    }

    #[test]
    fn the_forward_without_a_file_makes_sense() {
        let config = config::parse(FORWARD).unwrap();

        assert_eq!(config.forwards.len(), 1);
    }
}
