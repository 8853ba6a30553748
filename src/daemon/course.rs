//! The days of a daemon: signals, questions, reloads, the service manager, until something says
//! stop.

use std::convert::Infallible;
use std::fmt::Display;

use tracing::{error, info, warn};

use super::admin::{self, Answer, Call, Fault, Rejection, Request};
use super::ending::hurry;
use super::http::called;
use super::signals::{Signal, Signals};
use super::slumber::Slumber;
use super::systemd::{self, ServiceManager};
use super::{Change, Daemon, StartError};
use crate::config::Config;

impl Daemon {
    /// Waits until it shall stop, because of a signal or of a command. `reread` reads the
    /// configuration when it is to be reloaded.
    pub async fn until_stopped<E: Display>(
        &mut self,
        signals: &mut Signals,
        reread: impl Fn() -> Result<Config, E>,
    ) {
        let mut slumber = Slumber::new();
        let mut manager = ServiceManager::new();
        manager.ready(self.status());
        loop {
            tokio::select! {
                () = manager.tick() => {
                    let alive = self.history.handle_answer(self.forwards.answer());
                    manager.feed(alive);
                    manager.status(self.status());
                }
                signal = signals.next() => match signal {
                    Signal::Stop(name) => return info!(signal = name, "stopping"),
                    Signal::Nudge => {
                        info!("trying again now");
                        self.nudge();
                    }
                    Signal::Reload => drop(self.reread(&reread, &mut manager).await),
                    Signal::RollCall => {
                        let connections = self.forwards.roster().connections();
                        info!(connections, "roll call");
                        self.roll_call.send();
                    }
                },
                call = called(&mut self.admin, &mut self.http) => {
                    if self.is_told_to_stop(call, &reread, &mut manager).await {
                        return info!("stopping, as asked over the admin socket");
                    }
                }
                () = slumber.noticed() => {
                    info!("this machine has slept; testing every session");
                    self.nudge();
                }
                Some(done) = self.forwards.tasks.join_next() => {
                    if let Err(fault) = done {
                        error!(error = %fault, "a forward has stopped by a fault of this program");
                    }
                }
            }
        }
    }

    /// Looks after what runs, for ever, while somebody else listens to signals.
    pub async fn attend(&mut self) -> Infallible {
        let mut slumber = Slumber::new();
        loop {
            tokio::select! {
                () = slumber.noticed() => self.nudge(),
                Some(done) = self.forwards.tasks.join_next() => {
                    if let Err(fault) = done {
                        error!(error = %fault, "a forward has stopped by a fault of this program");
                    }
                }
            }
        }
    }

    /// Answers; whoever asks for the stop has the answer when it is done.
    async fn is_told_to_stop<E: Display>(
        &mut self,
        Call { request, reply }: Call,
        reread: impl Fn() -> Result<Config, E>,
        manager: &mut ServiceManager,
    ) -> bool {
        let answer = match request {
            Request::Status => {
                let filter = admin::filter(self.log.as_ref());
                let roster = self.forwards.roster();
                Answer::Status(Box::new(self.history.report(&roster, filter, false)))
            }
            Request::Reload => match self.reread(reread, manager).await {
                Ok(change) => Answer::Reloaded(change),
                Err(rejection) => Answer::Error(rejection),
            },
            Request::Log { level } => admin::set_log(self.log.as_ref(), level),
            Request::Stop { now } => {
                self.waiting.push(reply);
                if now {
                    hurry(&self.leaving);
                }
                return true;
            }
        };
        // Whoever has gone needs no answer.
        let _gone = reply.send(answer);
        false
    }

    /// Reads the configuration and does what it says, or says why not. The service manager hears
    /// of it.
    async fn reread<E: Display>(
        &mut self,
        read: impl Fn() -> Result<Config, E>,
        manager: &mut ServiceManager,
    ) -> Result<Change, Rejection> {
        systemd::reloading();
        let outcome = match read() {
            Ok(config) => self.reload(config).await.map_err(|error| rejected(&error)),
            Err(problems) => Err(Rejection {
                kind: Fault::Configuration,
                message: problems.to_string(),
                hint: String::new(),
            }),
        };
        match &outcome {
            Ok(change) => {
                self.history.reloads += 1;
                info!("reloaded: {change}");
            }
            Err(Rejection { message, hint, .. }) => {
                self.history.failed_reloads += 1;
                match hint.as_str() {
                    "" => warn!("not reloaded, everything stays as it was\n{message}"),
                    hint => {
                        warn!(error = %message, hint, "not reloaded, everything stays as it was");
                    }
                }
            }
        }
        manager.ready(self.status());
        outcome
    }

    fn status(&self) -> String {
        self.forwards.roster().line()
    }
}

fn rejected(error: &StartError) -> Rejection {
    let kind = match error {
        StartError::Listen { .. } | StartError::Http(_) => Fault::Listen,
        StartError::Roots(_)
        | StartError::Aws(_)
        | StartError::Forward { .. }
        | StartError::Proxy(_)
        | StartError::Standard(_)
        | StartError::Admin(_)
        | StartError::AdminMoved
        | StartError::Log(_) => Fault::Configuration,
    };
    Rejection {
        kind,
        message: error.to_string(),
        hint: error.hint().into_owned(),
    }
}
