//! Configuration for commands without a daemon: `[aws]` and `[defaults]` of the file, and the
//! environment.

use std::io;
use std::path::{Path, PathBuf};

use super::aws_options::AwsOptions;
use super::exit::Exit;
use super::{environment, paths, terminal};
use crate::config::{self, Account, Config, Forward, Parameters, Remote, SessionMode, Target};

/// Basis for a forward that is not in the file.
#[derive(Debug)]
pub(super) struct AdHocConfig {
    /// Configuration without forwards.
    pub(super) config: Config,
    /// Template. Its listener and destination are placeholders; its account has been merged into
    /// `config.aws`.
    pub(super) forward: Forward,
    /// Forwards of the file.
    pub(super) named: Vec<Forward>,
}

impl AdHocConfig {
    /// Removes a forward of the file and returns it.
    pub(super) fn take(&mut self, name: &str) -> Option<Forward> {
        let index = self.named.iter().position(|forward| forward.name == name)?;
        Some(self.named.swap_remove(index))
    }
}

/// Reads the file and the environment. `file` is that of `--config`; without it, there may be none.
/// `keys` of the forward take precedence over `[defaults]`.
pub(super) fn load_ad_hoc(file: Option<&Path>, keys: &str) -> Result<AdHocConfig, Exit> {
    let config = read_file(file, keys)?;
    ad_hoc(config)
}

/// Reads the file and the environment, but of the file neither the account nor the endpoint of the
/// API: for a session that another program has started, as the identity of the environment.
pub(super) fn load_without_account(keys: &str) -> Result<AdHocConfig, Exit> {
    let mut config = read_file(None, keys)?;
    if let Some(forward) = config.forwards.last_mut() {
        forward.account = Account::default();
    }
    config.aws = config::Aws {
        region: None,
        profile: None,
        role_arn: None,
        ssm_endpoint: None,
        ..config.aws
    };
    ad_hoc(config)
}

/// Returns the basis without any file.
pub(super) fn ad_hoc_without_file() -> Result<AdHocConfig, Exit> {
    let config = config::parse(FORWARD);
    ad_hoc(config.map_err(|error| terminal::fail_with_rendered(Exit::Failed, &error))?)
}

/// Applies the environment.
fn ad_hoc(mut config: Config) -> Result<AdHocConfig, Exit> {
    let mut forward = config.forwards.pop().ok_or(Exit::Failed)?;
    let account = std::mem::take(&mut forward.account);
    config.aws = account.merged_into(&config.aws);
    environment::apply(&mut config.aws).map_err(|bad| bad.fail())?;
    let named = std::mem::take(&mut config.forwards);
    Ok(AdHocConfig {
        config,
        forward,
        named,
    })
}

/// Reads the file with the template of a forward.
fn read_file(file: Option<&Path>, keys: &str) -> Result<Config, Exit> {
    let own = format!("{FORWARD}{keys}");
    let read = paths::search(file).map(|path| config::read_with(&path, &own));
    let without = || config::parse(&own).map_err(|problems| problems.to_string());
    let config = match read {
        Err(_nowhere) => without(),
        // The file of a system service only concerns users who may read it.
        Ok(Err(error)) if file.is_none() && is_closed_to_us(&error) => without(),
        Ok(config) => config.map_err(|error| error.to_string()),
    };
    config.map_err(|error| terminal::fail_with_rendered(Exit::Configuration, &error))
}

/// Returns the error of a file that [`load_ad_hoc`] does not accept.
pub(super) fn error_of(file: Option<&Path>) -> Option<config::Error> {
    let path = paths::search(file).ok()?;
    let error = config::read_with(&path, FORWARD).err()?;
    let is_passed_over = file.is_none() && is_closed_to_us(&error);
    (!is_passed_over).then_some(error)
}

/// Returns the absolute path of a file that [`load_ad_hoc`] accepts, for a stored command.
pub(super) fn checked_path(file: &Path) -> Result<PathBuf, Exit> {
    let path = std::path::absolute(file).map_err(|error| {
        let error = format!("{}: {}", file.display(), terminal::os_message(&error));
        terminal::fail(Exit::Configuration, &error, "check the path")
    })?;
    read_file(Some(&path), "").map(|_| path)
}

/// Runs blocking work, such as reading a named pipe instead of a file, on a separate thread, so
/// that a signal can interrupt the wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Exit> + Send + 'static,
) -> Result<T, Exit> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| {
        let error = format!("internal error ({panic})");
        Err(terminal::fail(Exit::Failed, &error, "please report it"))
    })
}

/// Returns whether the error is an unreadable file that was not named explicitly.
fn is_closed_to_us(error: &config::Error) -> bool {
    let is_named = terminal::environment("SSM_PROXYD_CONFIG").is_some();
    let is_closed = matches!(
        error,
        config::Error::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied
    );
    is_closed && !is_named
}

/// Returns the destination of a document with these arguments of `--parameter`. One that is repeated
/// has several values.
pub(super) fn by_document(name: &str, arguments: &[(String, String)]) -> Remote {
    let mut parameters = Parameters::new();
    for (parameter, value) in arguments.iter().cloned() {
        parameters.entry(parameter).or_default().push(value);
    }
    let name = name.to_owned();
    Remote::Document { name, parameters }
}

/// Returns a forward of the file, as a command uses it that was given its name. Flags win over its
/// own settings, but for the region in the ARN of a cluster, which is reported.
pub(super) fn with_flags(forward: Forward, aws: AwsOptions) -> Forward {
    for target in forward.target.iter() {
        note_other_region(target, aws.region.as_deref());
    }
    let target = match aws.region {
        Some(_) => forward.target.without_regions(),
        None => forward.target,
    };
    Forward {
        // Named explicitly, so enabled.
        enabled: true,
        sessions: match forward.sessions {
            // The number of connections is unknown.
            SessionMode::PerConnection { warm_max_age, .. } => SessionMode::PerConnection {
                warm: 0,
                warm_max_age,
            },
            shared @ SessionMode::Shared { .. } => shared,
        },
        account: aws.or(forward.account),
        target,
        ..forward
    }
}

/// Prints a note if a cluster is not in the region that was given.
fn note_other_region(target: &Target, given: Option<&str>) {
    let is_cluster = matches!(target, Target::Ecs(_));
    if let (true, Some(own), Some(given)) = (is_cluster, target.region(), given)
        && own != given
    {
        terminal::send(&format!(
            "note: {target} is in {own}, as its ARN says: `--region {given}` has no effect on it"
        ));
    }
}

/// A forward with a placeholder target, destination and document.
const FORWARD: &str = r#"
[[forward]]
name = "ssm-proxyd.load_ad_hoc"
listen = "127.0.0.1:0"
target = "i-0123456789abcdef0"
remote = 22
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_has_several_values() {
        let arguments = [("a", "1"), ("b", "2"), ("a", "3")];
        let arguments = arguments.map(|(name, value)| (name.to_owned(), value.to_owned()));

        let parameters = by_document("Ours", &arguments).parameters();

        assert_eq!(parameters["a"], ["1", "3"]);
        assert_eq!(parameters["b"], ["2"]);
    }

    #[test]
    fn the_template_of_a_forward_is_valid() {
        let config = config::parse(FORWARD).unwrap();

        assert_eq!(config.forwards.len(), 1);
    }
}
