//! Which connections an event may end with a reset. All others must survive it.

use super::script::{AdminCommand, Break, Call, Event};

/// The connections that an event may reset, or that may fail to get a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    None,
    /// Those without a session: an open session is resumed, or not affected.
    Pending,
    /// The same, and those whose client has ended its direction: they end after a quiet time.
    PendingAndHalfClosed,
    All,
}

impl Disturbance {
    /// Returns what an event may break if nothing else is broken.
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Client(_)
            | Event::Admin(
                AdminCommand::Status
                | AdminCommand::Forward
                | AdminCommand::Log
                | AdminCommand::Reload
                | AdminCommand::Invalid
                | AdminCommand::Silent,
            )
            | Event::Provider(..)
            | Event::CredentialsExpire(_)
            | Event::BadReload
            | Event::DumpConnections
            | Event::RetryNow => Self::None,
            Event::Websockets(Break::Close | Break::Fin | Break::Reset)
            | Event::NetworkCut
            | Event::Offline(_)
            | Event::CallsFail(Call::Start | Call::Terminate, ..)
            | Event::Throttled(_)
            | Event::ResponsesLost(_)
            | Event::DestinationRefused(_)
            | Event::Reload(_)
            | Event::DiskFull(_)
            | Event::DiskSlow(_) => Self::Pending,
            Event::Websockets(Break::BlackHole) | Event::MachineSleeps(_) => {
                Self::PendingAndHalfClosed
            }
            Event::NetworkSilent(seconds) | Event::NetworkRefused(seconds)
                if *seconds <= SHORT_OUTAGE =>
            {
                Self::PendingAndHalfClosed
            }
            Event::Admin(AdminCommand::Close(_))
            | Event::NetworkSilent(_)
            | Event::NetworkRefused(_)
            | Event::WebsocketsUnstable(_)
            | Event::AgentCrash
            | Event::AgentAway(_)
            | Event::Pauses(_)
            | Event::CallsFail(Call::Resume, ..)
            | Event::UpgradesRefused(..)
            | Event::DestinationSilent(_)
            | Event::Panic(_)
            | Event::Kill
            | Event::Restart(_) => Self::All,
        }
    }
}

/// In seconds: a session is resumed after it, in less than its `resume_timeout`.
const SHORT_OUTAGE: u64 = 40;
