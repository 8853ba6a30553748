//! What the settings of a forward mean for its pool.

use std::time::Duration;

use crate::config::{self, Sessions};

/// What makes a pool one of shared tunnels, or of tunnels for one connection each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) struct Shape {
    /// Connections on one tunnel at once; at least 1.
    pub(in crate::forward) slots: usize,
    /// Whether a place is given again once it is free.
    pub(in crate::forward) reuse: bool,
    /// Tunnels that are kept ready.
    pub(in crate::forward) spares: usize,
    /// A tunnel older than that is replaced as soon as nobody needs it.
    pub(in crate::forward) max_age: Option<Duration>,
    /// How long a tunnel is kept without a connection, if it is no spare.
    pub(in crate::forward) idle: Duration,
}

impl Shape {
    /// What the settings of a forward ask for.
    pub(in crate::forward) fn of(settings: &config::Forward) -> Self {
        match settings.sessions {
            Sessions::PerConnection { warm, warm_max_age } => Self {
                slots: 1,
                reuse: false,
                spares: warm,
                max_age: Some(warm_max_age),
                idle: Duration::ZERO,
            },
            Sessions::Shared {
                max_streams,
                max_age,
            } => Self {
                slots: max_streams,
                reuse: true,
                spares: 0,
                max_age,
                idle: MAX_IDLE,
            },
        }
    }
}

/// How long a shared session is kept without a connection: half of the idle timeout that accounts
/// have if they choose no other.
const MAX_IDLE: Duration = Duration::from_secs(600);
