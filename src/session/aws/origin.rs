//! The origin of sessions: which client started them, and how to get that client again.

use std::path::PathBuf;

use super::{Settings, SsmClient};
use crate::session::error::Error;
use crate::session::journal::Origin;

impl SsmClient {
    /// Returns region, identity and endpoint of its sessions.
    pub fn origin(&self) -> Origin {
        let Settings {
            profile,
            profile_first,
            role,
            ssm_endpoint,
            ..
        } = &self.0.settings;
        Origin {
            region: self.0.region.clone(),
            profile: profile.clone(),
            profile_first: *profile_first,
            role: role.clone(),
            endpoint: ssm_endpoint.clone(),
        }
    }

    /// Returns the client that a session was started with: the origin's region, identity and
    /// endpoint, `ca_bundle`, and the proxy and other settings of this client.
    ///
    /// # Errors
    ///
    /// As [`SsmClient::load`].
    pub async fn for_origin(
        &self,
        origin: &Origin,
        ca_bundle: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let Origin {
            region,
            profile,
            profile_first,
            role,
            endpoint,
        } = origin.clone();
        let settings = Settings {
            region: Some(region),
            profile,
            profile_first,
            role,
            ssm_endpoint: endpoint,
            ca_bundle,
            ..self.0.settings.clone()
        };
        self.with_settings(settings).await
    }
}
