//! A forward of the configuration: it listens, or it is disabled, or it cannot start.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error_span, info, warn};

use super::StartError;
use super::status::ForwardInfo;
use crate::config;
use crate::forward::{Forward, Listeners, Liveness, Stop};

/// A forward of the configuration.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) listed: Arc<ForwardInfo>,
    /// `None`: it is disabled, or it is failing.
    pub(super) active: Option<Active>,
    /// Why it could not start, as it was logged.
    pub(super) failure: Option<String>,
}

/// A forward that listens.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) bound: Listeners,
    pub(super) liveness: Liveness,
    pub(super) stop: watch::Sender<Stop>,
}

impl Running {
    /// What the configuration says of it.
    pub(super) fn settings(&self) -> &config::Forward {
        &self.listed.settings
    }

    /// One that listens. That is logged.
    pub(super) fn new(
        settings: config::Forward,
        forward: &Forward,
        stop: watch::Sender<Stop>,
    ) -> Self {
        forward.announce();
        let listed = ForwardInfo {
            settings,
            addresses: forward.addresses(),
            metrics: Arc::clone(forward.metrics()),
        };
        let active = Active {
            bound: forward.bound().clone(),
            liveness: forward.liveness().clone(),
            stop,
        };
        Self {
            listed: Arc::new(listed),
            active: Some(active),
            failure: None,
        }
    }

    /// One that does not listen.
    pub(super) fn idle(settings: config::Forward) -> Self {
        let addresses = settings.listen.clone();
        let listed = ForwardInfo {
            settings,
            addresses,
            metrics: Arc::default(),
        };
        Self {
            listed: Arc::new(listed),
            active: None,
            failure: None,
        }
    }

    /// Logs that it is disabled.
    pub(super) fn announce_disabled(&self) {
        let forward = &self.settings().name;
        error_span!("serving", forward).in_scope(|| info!("disabled"));
    }

    /// It cannot start. That is logged unless it was the reason last time.
    pub(super) fn handle_failure(&mut self, error: &StartError) {
        let text = error.to_string();
        let hint = error.hint();
        self.listed.handle_failure(error);
        if self.failure.as_ref() == Some(&text) {
            return;
        }
        let forward = &self.settings().name;
        error_span!("serving", forward).in_scope(|| {
            warn!(error = %text, %hint, "this forward cannot start; retrying");
        });
        self.failure = Some(text);
    }

    /// Whether it could not start.
    pub(super) fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// The same, as another file says it.
    pub(super) fn listed_as(&mut self, settings: config::Forward) {
        self.listed = Arc::new(ForwardInfo {
            settings,
            addresses: self.listed.addresses.clone(),
            metrics: Arc::clone(&self.listed.metrics),
        });
    }
}
