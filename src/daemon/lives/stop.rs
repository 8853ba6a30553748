//! Stops and kills the daemon.

use std::time::Duration;

use signal_hook::consts::SIGTERM;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::admin;
use super::life::Life;
use super::script::{AdminCommand, FORWARDS, Stop};
use super::tally::{self, Happening};
use super::world::{World, address};
use crate::blocking::virtual_disk;
use crate::daemon::Response;
use crate::session::virtual_provider;
use crate::sim::{EndedBy, SessionRecord};
use crate::virtual_net::{Reach, connect};

impl Life {
    /// Stops the daemon in order, and checks that nothing is left.
    pub(super) async fn end(mut self) -> Result<(), String> {
        self.stop_daemon(Stop::Signal).await?;
        let open = self.world.simulator.open_sessions();
        if open > 0 && !self.may_leave_sessions {
            return Err(format!("{open} sessions are left after the stop"));
        }
        let journal = self.world.journal();
        // A session is kept for the next process if this one was not permitted to terminate it.
        if !journal.is_empty() && !self.may_leave_sessions && !self.has_bad_disk {
            return Err(format!(
                "{} sessions are in the journal after the stop: {journal:?}",
                journal.len()
            ));
        }
        sleep(Duration::from_secs(10)).await;
        let streams = World::aws().open_streams();
        if streams > 0 {
            return Err(format!(
                "{streams} directions of connections to AWS are open"
            ));
        }
        self.tally_all();
        drop(self);
        sleep(Duration::from_secs(1)).await;
        match Handle::current().metrics().num_alive_tasks() {
            0 => Ok(()),
            tasks => Err(format!("{tasks} tasks are left")),
        }
    }

    /// Counts what has happened in this life.
    fn tally_all(&self) {
        let ledger = self.world.simulator.ledger();
        let has = |which: fn(&SessionRecord) -> bool| ledger.sessions.iter().any(which);
        let failed =
            |outcome: &String| outcome.ends_with("Exception") || outcome.ends_with("Error");
        let happenings = [
            (Happening::Resume, has(|session| session.resumes > 0)),
            (
                Happening::IdleTimeout,
                has(|session| session.ended_by == Some(EndedBy::Idle)),
            ),
            (Happening::FailedCall, ledger.outcomes.keys().any(failed)),
            (Happening::Panic, Self::may_be_lost()),
            (Happening::BadDisk, virtual_disk::take_hits() > 0),
            (Happening::BadProvider, virtual_provider::take_hits() > 0),
        ];
        for (happening, has_happened) in happenings {
            if has_happened {
                tally::count(happening);
            }
        }
    }

    /// Ends the daemon at once. Its tasks end one after the other; nothing that they still do may
    /// reach AWS.
    pub(super) async fn kill_daemon(&mut self) {
        let daemon = self.world.daemon.take().expect("it is running");
        let (aws, reach) = (World::aws(), World::aws().reach());
        aws.set_reach(Reach::Refused);
        aws.cut();
        daemon.kill().await;
        sleep(Duration::from_millis(1)).await;
        aws.set_reach(reach);
    }

    /// Stops the daemon.
    pub(super) async fn stop_daemon(&mut self, stop: Stop) -> Result<(), String> {
        let mut daemon = self.world.daemon.take().expect("it is running");
        let signals = daemon.signals();
        let request = async {
            let response = match stop {
                Stop::Signal | Stop::Signals => None,
                Stop::Command => admin::stop(false).await?,
                Stop::CommandNow => admin::stop(true).await?,
            };
            // Without a response, it was just starting, or has ended.
            if response.is_none() {
                let _ended = signals.try_send(SIGTERM);
            }
            sleep(Duration::from_secs(1)).await;
            if stop == Stop::Signals {
                let _ended = signals.try_send(SIGTERM);
            }
            Ok::<_, String>(response)
        };
        let status = async {
            sleep(Duration::from_millis(500)).await;
            for forward in 0..FORWARDS {
                if connect(&address(forward)).await.is_ok() {
                    return Err(format!("f{forward} accepts while the daemon stops"));
                }
            }
            admin::command(AdminCommand::Status).await
        };
        let ended = timeout(MAX_STOP, daemon.ended());
        let (ended, response, status) = tokio::join!(ended, request, status);
        let ended = ended.map_err(|_| "the daemon does not stop".to_owned())?;
        self.check_stopped(&response?)?;
        match Self::may_be_lost() {
            true => Ok(()),
            false => status.and(ended),
        }
    }

    /// Checks the number of sessions that a stop has reported. It cannot know one whose start was in
    /// progress when a daemon was killed: the response was lost.
    fn check_stopped(&self, response: &Option<Response>) -> Result<(), String> {
        let sessions = self.world.simulator.ledger().sessions;
        let is_known = |session: &&SessionRecord| session.is_open() && session.attached > 0;
        let open = sessions.iter().filter(is_known).count();
        match response {
            Some(Response::Stopped {
                sessions_left: Some(0),
            }) if open > 0 && !self.may_leave_sessions => {
                Err(format!("`stop` reports 0 sessions left of {open}"))
            }
            Some(Response::Stopped { .. }) | None => Ok(()),
            Some(other) => Err(format!("unexpected response to `stop`: {other:?}")),
        }
    }
}

/// Longer than all phases of a stop.
const MAX_STOP: Duration = Duration::from_secs(60);
