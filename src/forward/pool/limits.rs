//! Parameters of a pool, derived from the settings of its forward.

use std::time::Duration;

use crate::config::{self, SessionMode};

/// Distinguishes a pool of shared tunnels from one of tunnels for one connection each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) struct PoolMode {
    /// Connections on one tunnel at once; at least 1.
    pub(in crate::forward) slots: usize,
    /// Whether a slot is given again once it is free.
    pub(in crate::forward) reuse: bool,
    /// Number of warm sessions.
    pub(in crate::forward) warm_sessions: usize,
    /// A tunnel older than this is replaced as soon as it is unused.
    pub(in crate::forward) max_age: Option<Duration>,
    /// How long a tunnel without a connection is kept, if it is not a warm session.
    pub(in crate::forward) idle: Duration,
    /// Whether each tunnel is started for a certain connection. Implies one slot, no reuse and no
    /// warm sessions.
    pub(in crate::forward) is_dedicated: bool,
}

impl PoolMode {
    /// Returns the parameters for the settings of a forward.
    pub(in crate::forward) fn of(settings: &config::Forward) -> Self {
        let is_dedicated = settings.is_proxy();
        match settings.sessions {
            SessionMode::PerConnection { warm, warm_max_age } => Self {
                slots: 1,
                reuse: false,
                warm_sessions: warm,
                max_age: Some(warm_max_age).filter(|_| !is_dedicated),
                idle: Duration::ZERO,
                is_dedicated,
            },
            SessionMode::Shared {
                max_streams,
                max_age,
            } => Self {
                slots: max_streams,
                reuse: true,
                warm_sessions: 0,
                max_age,
                idle: MAX_IDLE,
                is_dedicated: false,
            },
        }
    }
}

/// How long a shared session is kept without a connection: half of the default idle timeout of
/// an AWS account.
const MAX_IDLE: Duration = Duration::from_secs(600);
