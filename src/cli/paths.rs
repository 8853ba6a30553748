//! Paths of the configuration and of the persistent state.

use std::path::{Path, PathBuf};

use super::terminal;
use crate::config;

/// Finds and reads the configuration.
pub(super) fn read(option: Option<&Path>) -> Result<(PathBuf, config::Config), config::Error> {
    let path = search(option)?;
    let config = config::read(&path)?;
    Ok((path, config))
}

/// Finds the configuration.
pub(super) fn search(option: Option<&Path>) -> Result<PathBuf, config::Error> {
    config::search(option, &variables())
}

fn variables() -> config::Variables {
    config::Variables {
        config: std::env::var_os("SSM_PROXYD_CONFIG"),
        config_home: std::env::var_os("XDG_CONFIG_HOME"),
        home: std::env::var_os("HOME"),
    }
}

/// Returns the place where the configuration is looked up first.
pub(super) fn first_place() -> Option<PathBuf> {
    variables().first_place()
}

/// Returns the directory for persistent state, of the service manager or the user.
pub(super) fn state_directory() -> Option<PathBuf> {
    let of_service = terminal::environment("STATE_DIRECTORY");
    // Several directories are separated by colons.
    let of_service = of_service.and_then(|paths| paths.split(':').next().map(PathBuf::from));
    let of_home =
        || terminal::environment("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let of_user = terminal::environment("XDG_STATE_HOME").map(PathBuf::from);
    of_service.or_else(|| Some(of_user.or_else(of_home)?.join("ssm-proxyd")))
}
