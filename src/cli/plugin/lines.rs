//! The lines of the official plugin on stdout, word for word: programs wait for them.

use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::sleep;

use crate::cli::exit::Exit;
use crate::cli::stdout;
use crate::config::Listen;
use crate::printable::{Printable, printable_lines};
use crate::telemetry::{EndReason, ForwardMetrics};

/// Prints a text of ours, with anything that is not printable escaped. A closed stdout is no error.
pub(super) fn print(text: &str) -> Exit {
    match stdout::print(printable_lines(text)) {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    }
}

/// Reports that no session is served. The exit code is 0, as that of the official plugin.
pub(super) fn failed(error: &dyn Display) -> Exit {
    print(&not_started(error))
}

pub(super) fn not_started(error: &dyn Display) -> String {
    format!("Cannot perform start session: {}\n", Printable::of(error))
}

pub(super) fn unknown_operation(operation: &str) -> String {
    let operation = Printable::cut(operation, MAX_OPERATION);
    format!(
        "\nUnknown operation {operation}. \nUse session-manager-plugin --version to check the version.\n\n"
    )
}

pub(super) fn starting(session: &str) -> String {
    format!("\nStarting session with SessionId: {session}\n")
}

/// The line of a local address, and the one that follows it.
pub(super) fn opened(address: Option<&Listen>, session: &str) -> String {
    let opened = match address {
        Some(Listen::Unix(path)) => socket_opened(path, session),
        Some(address) => port_opened(address.port().unwrap_or_default(), session),
        None => port_opened(0, session),
    };
    format!("{opened}\nWaiting for connections...\n")
}

fn port_opened(port: u16, session: &str) -> String {
    format!("Port {port} opened for sessionId {session}.")
}

fn socket_opened(path: &Path, session: &str) -> String {
    format!(
        "Unix socket {} opened for sessionId {session}.",
        path.display()
    )
}

pub(super) const TERMINATED: &str = "Terminate signal received, exiting.\n";

pub(super) fn exiting(session: &str) -> String {
    format!("\n\nExiting session with sessionId: {session}.\n\n")
}

/// The line of the end of the session, by the agent or Session Manager.
pub(super) fn ended(session: &str, why: &Printable) -> String {
    format!("\n\nSessionId: {session} : {why}\n\n")
}

/// What was printed about the connections of a session.
#[derive(Debug)]
pub(super) struct ConnectionLines<'a> {
    metrics: &'a ForwardMetrics,
    session: &'a str,
    has_accepted: bool,
    /// Number of connections that could not reach their destination.
    refused: u64,
}

impl<'a> ConnectionLines<'a> {
    pub(super) fn new(metrics: &'a ForwardMetrics, session: &'a str) -> Self {
        Self {
            metrics,
            session,
            has_accepted: false,
            refused: 0,
        }
    }

    /// Prints the line of the first connection, and one for each that cannot reach its destination.
    /// Never returns.
    pub(super) async fn print_all(&mut self, print: impl Fn(String)) -> ! {
        loop {
            self.print_new(&print);
            sleep(INTERVAL).await;
        }
    }

    /// Prints the lines that are due.
    pub(super) fn print_new(&mut self, print: impl Fn(String)) {
        let totals = &self.metrics.totals;
        if !self.has_accepted && totals.accepted.load(Relaxed) > 0 {
            self.has_accepted = true;
            let session = self.session;
            print(format!("\nConnection accepted for session [{session}]\n"));
        }
        let ends = totals.ends();
        let refused = ends.get(&EndReason::DestinationUnreachable);
        let refused = refused.copied().unwrap_or_default();
        while self.refused < refused {
            self.refused += 1;
            print(UNREACHABLE.to_owned());
        }
    }
}

const UNREACHABLE: &str = "\nConnection to destination port failed, check SSM Agent logs.\n";

/// How often the connections are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Maximum length of an operation in a message, in characters.
const MAX_OPERATION: usize = 200;
