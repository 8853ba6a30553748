//! Who calls, and what is known of credentials.

use std::sync::Arc;
use std::time::Instant;

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;

use super::settings::{self, Settings};
use crate::session::error::{Error, Kind};
use crate::session::sign::Signer;

/// What is known of credentials: the SDK remembers for ever what it has read in files.
#[derive(Default)]
pub(super) struct Book {
    pub(super) caller: Option<Arc<Caller>>,
    /// When there were none of use, and why.
    pub(super) refused: Option<(Instant, Error)>,
}

impl Book {
    pub(super) fn caller(&self) -> Option<Arc<Caller>> {
        self.caller.clone()
    }

    pub(super) fn refused(&self) -> Option<(Instant, Error)> {
        self.refused.clone()
    }

    pub(super) fn know(&mut self, caller: Arc<Caller>) {
        self.caller = Some(caller);
    }

    /// Something went wrong with what a caller knows.
    pub(super) fn doubt(&mut self, caller: &Arc<Caller>, error: &Error) {
        let is_known = self
            .caller
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, caller));
        if !is_known {
            return;
        }
        if error.kind() == Kind::Credentials {
            self.caller = None;
            self.refused = Some((Instant::now(), error.clone()));
        }
        if matches!(error.kind(), Kind::Denied | Kind::Role) {
            self.caller = None;
        }
    }

    pub(super) fn forget(&mut self) {
        self.caller = None;
    }

    pub(super) fn cut_short(&mut self) {
        self.refused = None;
    }
}

/// Calls and signs with what was found of credentials at one time.
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) signer: Signer,
}

impl Caller {
    pub(super) fn new(config: &SdkConfig, settings: &Settings, region: &str) -> Self {
        let looked_at = settings.looked_at();
        Self {
            client: settings::client(config, settings),
            signer: Signer::new(region.to_owned(), config.credentials_provider(), looked_at),
        }
    }
}
