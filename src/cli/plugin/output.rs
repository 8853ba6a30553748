//! Output of the plugin while it serves: lines on stdout, in order, which nothing waits for. Its
//! reader may not read.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::arguments::Arguments;
use super::lines;
use super::official::Purpose;
use crate::cli::ad_hoc::blocking;
use crate::cli::exit::Exit;
use crate::cli::terminal;
use crate::printable::Printable;

/// Where messages go, and what they name.
pub(super) struct Output {
    pub(super) purpose: Purpose,
    /// The session id, printable.
    pub(super) session: String,
    /// The node, or the session if the node is unknown; printable.
    pub(super) target: String,
    printer: Printer,
}

impl Output {
    pub(super) fn new(arguments: &Arguments, purpose: Purpose) -> Self {
        let session = &arguments.session;
        let id = Printable::cut(&session.id, MAX_ID).to_string();
        Self {
            purpose,
            target: match &*session.target {
                "" => id.clone(),
                target => Printable::cut(target, MAX_ID).to_string(),
            },
            session: id,
            printer: Printer::new(),
        }
    }

    /// Reports that the session is not served: on stdout, unless that may be read by ssh.
    pub(super) fn failed(&self, error: &str) -> Exit {
        let text = lines::not_started(&error);
        match self.purpose {
            Purpose::Port | Purpose::Shell => self.printer.print(text),
            Purpose::Ssh | Purpose::Unknown => terminal::send(&text.trim_end()),
        }
        Exit::Done
    }

    /// Prints a line, unless stdout may be read by ssh.
    pub(super) fn print(&self, line: String) {
        match self.purpose {
            Purpose::Port => self.printer.print(line),
            Purpose::Shell | Purpose::Ssh | Purpose::Unknown => {}
        }
    }

    /// Waits until everything is printed, but not for a reader that does not read. Returns the exit
    /// code of the output if that of the program is success.
    pub(super) async fn finish(self, exit: Exit) -> Exit {
        let printed = self.printer.finish().await;
        match exit == Exit::Done {
            true => printed,
            false => exit,
        }
    }
}

/// Prints texts in order. At the first one that is not taken in time, it drops all others.
struct Printer {
    /// Texts are dropped when it is full.
    queue: mpsc::Sender<String>,
    task: JoinSet<Exit>,
}

impl Printer {
    fn new() -> Self {
        let (queue, texts) = mpsc::channel(MAX_QUEUED);
        let mut task = JoinSet::new();
        task.spawn(print_all(texts));
        Self { queue, task }
    }

    fn print(&self, text: String) {
        // Full or ended: nobody reads.
        let _dropped = self.queue.try_send(text);
    }

    async fn finish(self) -> Exit {
        let Self { queue, mut task } = self;
        drop(queue);
        match timeout(MAX_PRINT, task.join_next()).await {
            Ok(Some(Ok(exit))) => exit,
            Ok(Some(Err(_)) | None) | Err(_) => Exit::Done,
        }
    }
}

/// Prints each text on a thread of its own. Ends if one is not taken in time or cannot be written.
async fn print_all(mut texts: mpsc::Receiver<String>) -> Exit {
    while let Some(text) = texts.recv().await {
        let printing = blocking(move || Ok(lines::print(&text)));
        match timeout(MAX_PRINT, printing).await {
            Ok(Ok(Exit::Done)) => {}
            Ok(Ok(exit) | Err(exit)) => return exit,
            Err(_) => return Exit::Done,
        }
    }
    Exit::Done
}

/// How long a text may take, and what remains at the end.
const MAX_PRINT: Duration = Duration::from_secs(2);

/// Maximum number of texts that wait to be printed.
const MAX_QUEUED: usize = 64;

/// Maximum length of an id in messages, in characters.
const MAX_ID: usize = 256;
