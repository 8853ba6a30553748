//! The `ca_bundle` of a profile in the AWS configuration files.

use std::path::PathBuf;

use aws_types::os_shim_internal::Env;

use super::files::{DEFAULT, Profiles, in_home};
use crate::network::Network;
use crate::session::error::{Error, ErrorKind, PROFILE_BUNDLE, sources};

/// The CA certificates that a profile adds to those of the platform.
#[derive(Clone, Debug)]
pub struct ProfileBundle {
    /// The file.
    pub path: PathBuf,
    /// A network that trusts them, without a proxy.
    pub network: Network,
}

impl ProfileBundle {
    /// Reads the `ca_bundle` of this profile, or of the default one; `None` if it has none. Blocks.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Profile`], with profile, file and cause, if the bundle cannot be used.
    pub fn read(profile: Option<&str>) -> Result<Option<Self>, Error> {
        let profile = profile.unwrap_or(DEFAULT);
        let Some(path) = path(profile) else {
            return Ok(None);
        };
        match Network::new(Some(&path)) {
            Ok(network) => Ok(Some(Self { path, network })),
            Err(error) => {
                let why = format!("profile {profile:?}: {}", sources(&error));
                Err(Error::new(PROFILE_BUNDLE, ErrorKind::Profile, why))
            }
        }
    }
}

fn path(profile: &str) -> Option<PathBuf> {
    let env = Env::real();
    let profiles = Profiles::read(&env);
    let bundle = profiles.get(profile, "ca_bundle")?;
    Some(in_home(&env, bundle))
}
