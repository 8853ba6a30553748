//! A forward of the configuration: listening, disabled or failing.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error_span, info, warn};

use super::StartError;
use super::status::ForwardInfo;
use crate::config;
use crate::forward::{Forward, Listeners, Liveness, ShutdownPhase};
use crate::telemetry::{ForwardMetrics, ForwardTotals};

/// A forward of the configuration.
#[derive(Debug)]
pub(super) struct RunningForward {
    pub(super) info: Arc<ForwardInfo>,
    /// `None` if the forward is disabled or failing.
    pub(super) active: Option<Active>,
    /// The start errors that were logged, up to a bound; empty unless it is failing.
    failures: BTreeSet<String>,
}

/// A listening forward.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) bound: Listeners,
    pub(super) liveness: Liveness,
    pub(super) stop: watch::Sender<ShutdownPhase>,
}

impl RunningForward {
    pub(super) fn settings(&self) -> &config::Forward {
        &self.info.settings
    }

    /// Creates the entry of a listening forward, and logs its addresses.
    pub(super) fn new(
        settings: config::Forward,
        forward: &Forward,
        stop: watch::Sender<ShutdownPhase>,
    ) -> Self {
        forward.announce();
        let info = ForwardInfo {
            settings,
            addresses: forward.addresses(),
            metrics: Arc::clone(forward.metrics()),
            connections: Some(Arc::clone(forward.connections())),
            observation: Arc::default(),
        };
        let active = Active {
            bound: forward.bound().clone(),
            liveness: forward.liveness().clone(),
            stop,
        };
        Self {
            info: Arc::new(info),
            active: Some(active),
            failures: BTreeSet::new(),
        }
    }

    /// Creates the entry of a forward that does not listen, and continues these totals.
    pub(super) fn idle(settings: config::Forward, totals: Arc<ForwardTotals>) -> Self {
        let addresses = settings.listen.clone();
        let info = ForwardInfo {
            settings,
            addresses,
            metrics: Arc::new(ForwardMetrics::new(totals)),
            connections: None,
            observation: Arc::default(),
        };
        Self {
            info: Arc::new(info),
            active: None,
            failures: BTreeSet::new(),
        }
    }

    pub(super) fn announce_disabled(&self) {
        let forward = &self.settings().name;
        error_span!("serving", forward).in_scope(|| info!("disabled"));
    }

    /// Records a start error. Logs it unless an earlier attempt failed with the same text.
    pub(super) fn handle_failure(&mut self, error: &StartError) {
        let text = error.to_string();
        let hint = error.hint();
        self.info.handle_failure(error);
        if self.failures.len() >= MAX_LOGGED || !self.failures.insert(text.clone()) {
            return;
        }
        let forward = &self.settings().name;
        error_span!("serving", forward).in_scope(|| {
            warn!(error = %text, %hint, class = %error.class(), "cannot start the forward; retrying");
        });
    }

    /// Returns true if the forward could not start.
    pub(super) fn is_failing(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Replaces the settings; addresses and metrics stay.
    pub(super) fn set_settings(&mut self, settings: config::Forward) {
        self.info = Arc::new(ForwardInfo {
            settings,
            addresses: self.info.addresses.clone(),
            metrics: Arc::clone(&self.info.metrics),
            connections: self.info.connections.clone(),
            observation: Arc::clone(&self.info.observation),
        });
    }
}

/// Maximum number of different start errors that are logged: some texts differ each time.
const MAX_LOGGED: usize = 8;
