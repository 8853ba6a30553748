//! A session that is not served: it is terminated if possible, else it is named with what ends it.

use super::arguments::Arguments;
use super::configuration::{File, configuration};
use super::fields::ArgumentError;
use super::official::Purpose;
use super::output::Output;
use super::{failures, lines};
use crate::cli::ad_hoc::blocking;
use crate::cli::exit::Exit;
use crate::cli::{startup, terminal};
use crate::daemon::{HandOverError, HandedOver, HandedOverConfig, Signals};
use crate::printable::Printable;
use crate::session::SuppliedSession;

/// Reports arguments that do not tell which session they are for.
pub(super) fn unknown(error: &ArgumentError) -> Exit {
    let exit = lines::failed(error);
    let what = "a session that the caller has started may still be active";
    terminal::fail(Exit::Failed, &what, LOOK_FOR_SESSIONS);
    exit
}

/// Reports arguments that a session cannot be served with, and terminates it.
pub(super) async fn refuse(arguments: Arguments, error: ArgumentError) -> Exit {
    let purpose = Purpose::of(arguments.request.as_ref());
    let output = Output::new(&arguments, purpose);
    let exit = output.failed(&error.to_string());
    let exit = end(arguments, exit).await;
    output.finish(exit).await
}

/// Terminates the session of these arguments, without the configuration file.
pub(super) async fn end(arguments: Arguments, exit: Exit) -> Exit {
    let signals = startup::stop_signals().and_then(startup::with_terminal_keys);
    match signals {
        Ok(mut signals) => terminate_without_file(arguments, &mut signals).await,
        Err(_) => still_active(&arguments.session),
    }
    exit
}

/// The same, until a signal.
pub(super) async fn terminate_without_file(arguments: Arguments, signals: &mut Signals) {
    let session = arguments.session.clone();
    let config = blocking(move || Ok(configuration(arguments, File::Ignored)));
    let config = tokio::select! {
        config = config => config,
        () = signals.wait_for_stop() => return still_active(&session),
    };
    match config {
        Ok(Ok(config)) => terminate(config, signals).await,
        Ok(Err(_)) | Err(_) => still_active(&session),
    }
}

/// Terminates the session, until a signal.
pub(super) async fn terminate(config: HandedOverConfig, signals: &mut Signals) {
    let session = config.session.clone();
    let ended = tokio::select! {
        ended = HandedOver::terminate(config) => ended,
        () = signals.wait_for_stop() => return still_active(&session),
    };
    if let Err(HandOverError { error, .. }) = ended {
        if let Some(error) = error {
            terminal::fail(Exit::Failed, &failures::not_taken_over(&error), "");
        }
        still_active(&session);
    }
}

/// Names a session that may still be active.
pub(super) fn still_active(session: &SuppliedSession) {
    let id = Printable::cut(&session.id, MAX_ID);
    let what = format!("session {id} may still be active");
    let hint = match session.has_valid_id() {
        true => format!(
            "`aws ssm terminate-session --session-id {id}` ends it, with the region and the profile that it was started with; the account's idle session timeout does too"
        ),
        false => LOOK_FOR_SESSIONS.to_owned(),
    };
    terminal::fail(Exit::Failed, &what, &hint);
}

const LOOK_FOR_SESSIONS: &str = "`aws ssm describe-sessions --state Active` lists sessions; the account's idle session timeout also ends them";

/// Maximum length of an id in messages, in characters.
const MAX_ID: usize = 256;
