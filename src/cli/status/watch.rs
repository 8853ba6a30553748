//! `status --watch`: the status, redrawn each second on the alternate screen of a terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::time::sleep;

use super::{StatusArgs, request, text};
use crate::cli::cells;
use crate::cli::control::{AskError, ask, ask_quietly, sent, unexpected_response};
use crate::cli::exit::Exit;
use crate::cli::stdout::{self, StdoutClosed};
use crate::cli::{startup, terminal};
use crate::printable::printable_lines;

/// Redraws the status until a stop signal, or until the daemon does not respond.
pub(super) async fn watch(args: &StatusArgs) -> Exit {
    if !io::stdout().is_terminal() {
        let hint = "without a terminal, repeat `ssm-proxyd status --json`";
        return terminal::fail(Exit::Usage, &"--watch needs a terminal", hint);
    }
    let mut signals = match startup::stop_signals() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    // Before the screen is changed, so that an error stays visible.
    let request = request(args);
    let mut response = match ask(&args.daemon, &request).await {
        Ok(response) => response,
        Err(exit) => return exit,
    };
    if let Err(closed) = stdout::print(ENTER) {
        return closed.exit();
    }
    let end = loop {
        let Some(text) = text(&response) else {
            break Err(Failure::Unexpected);
        };
        if let Err(closed) = draw(&text) {
            break Err(Failure::Stdout(closed));
        }
        let next = async {
            sleep(INTERVAL).await;
            ask_quietly(&args.daemon, &request).await
        };
        response = tokio::select! {
            () = signals.wait_for_stop() => break Ok(()),
            next = next => match next {
                Ok(response) => response,
                Err(error) => break Err(Failure::Request(error)),
            },
        };
    };
    let left = stdout::print(LEAVE);
    match end {
        Ok(()) => sent(left),
        // Only now: what is printed on the alternate screen disappears with it.
        Err(Failure::Request(error)) => error.report(),
        Err(Failure::Unexpected) => unexpected_response(&response),
        Err(Failure::Stdout(closed)) => closed.exit(),
    }
}

/// The reason why the status is not drawn again.
enum Failure {
    Request(AskError),
    Unexpected,
    Stdout(StdoutClosed),
}

/// Draws as many lines as fit, each cut to the width.
fn draw(text: &str) -> Result<(), StdoutClosed> {
    let (width, height) = terminal::size();
    let text = printable_lines(text);
    let mut screen = String::from(HOME);
    // The last line stays free, so that nothing scrolls.
    for line in text.lines().take(height.saturating_sub(1)) {
        screen += &cells::cut(line, width);
        screen += NEXT;
    }
    stdout::print(screen + REST)
}

/// Switches to the alternate screen and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";

/// Shows the cursor and switches back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

const HOME: &str = "\x1b[H";

/// Clears the rest of the line, and begins the next.
const NEXT: &str = "\x1b[K\r\n";

/// Clears the rest of the screen.
const REST: &str = "\x1b[J";

const INTERVAL: Duration = Duration::from_secs(1);
