//! `top`: the forwards of a running daemon and their connections, live on a terminal.
//!
//! ```text
//!   keyboard ─keys─┐                        ┌─▶ view ─▶ encoder ─▶ screen
//!                  ├─▶ model (pure) ────────┤
//!   poller ─updates┘                        └─▶ poller (close a connection)
//! ```
//!
//! The model decides and the view draws, without I/O. The terminal is restored however the program
//! ends, and while it is suspended.

mod encoder;
mod keyboard;
mod keys;
mod model;
mod poller;
mod screen;
#[cfg(test)]
mod test_reports;
mod view;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use rustix::process::{Signal, kill_current_process_group};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use self::keys::Key;
use self::model::{Command, Model, Update};
use self::poller::Order;
use self::screen::Screen;
use self::view::Look;
use super::daemon_address::{DaemonAddress, DaemonSockets};
use super::exit::Exit;
use super::terminal;
use crate::clock;
use crate::daemon::{ScreenSignal, ScreenSignals, Signals};
use crate::panics::{self, internal_errors};
use crate::printable::Printable;

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    daemon: DaemonAddress,
}

/// Shows the daemon until the user quits, or until a stop signal.
pub(super) async fn top(args: TopArgs) -> Exit {
    if let Err(exit) = check_terminal() {
        return exit;
    }
    // An invalid configuration is reported before the screen changes.
    let daemon = match args.daemon.sockets().await {
        Ok(daemon) => daemon,
        Err(exit) => return exit,
    };
    let shown = match Top::start(daemon) {
        Ok(mut top) => {
            let shown = top.run().await;
            top.screen.leave().await;
            shown
        }
        Err(error) => Err(error),
    };
    match shown {
        Ok(()) => Exit::Done,
        Err(error) => terminal::fail(Exit::Failed, &error, HINT),
    }
}

/// Fails if there is no terminal to draw on.
fn check_terminal() -> Result<(), Exit> {
    for (name, is_terminal) in [
        ("stdin", io::stdin().is_terminal()),
        ("stdout", io::stdout().is_terminal()),
    ] {
        if !is_terminal {
            let error = format!("top needs a terminal, and {name} is none");
            let hint = "without a terminal, repeat `ssm-proxyd status --json`";
            return Err(terminal::fail(Exit::Usage, &error, hint));
        }
    }
    let kind = terminal::environment("TERM").unwrap_or_default();
    if kind.is_empty() || kind == "dumb" {
        let error = format!("top cannot draw on this terminal (TERM={kind})");
        let hint = "use `ssm-proxyd status --watch`, or set TERM to the type of the terminal";
        return Err(terminal::fail(Exit::Usage, &error, hint));
    }
    Ok(())
}

/// Returns what the terminal can display, by the environment.
fn look() -> Look {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(terminal::environment);
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    Look {
        colour: terminal::has_colour_on_stdout(),
        unicode: locale.contains("utf-8") || locale.contains("utf8"),
    }
}

/// The running program.
struct Top {
    model: Model,
    look: Look,
    screen: Screen,
    signals: Signals,
    screen_signals: ScreenSignals,
    keys: mpsc::Receiver<Key>,
    updates: mpsc::Receiver<Update>,
    wanted: watch::Sender<Option<Printable>>,
    orders: mpsc::Sender<Order>,
    /// The poller.
    tasks: JoinSet<()>,
}

impl Top {
    /// Starts the threads and the task, and changes the terminal.
    fn start(daemon: DaemonSockets) -> io::Result<Self> {
        let look = look();
        let (wanted, watched) = watch::channel(None);
        let (orders, ordered) = mpsc::channel(MAX_ORDERS);
        let (updates, received) = mpsc::channel(1);
        let mut top = Self {
            model: Model::new(clock::now()),
            look,
            screen: Screen::new(look.unicode)?,
            signals: Signals::new()?.without_reload(),
            screen_signals: ScreenSignals::new()?,
            keys: keyboard::start()?,
            updates: received,
            wanted,
            orders,
            tasks: JoinSet::new(),
        };
        screen::restore_at_panic();
        top.tasks
            .spawn(poller::run(daemon, watched, ordered, updates));
        top.enter()?;
        Ok(top)
    }

    /// Shows the model until a stop is requested.
    async fn run(&mut self) -> io::Result<()> {
        let mut ages = interval(AGES);
        ages.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_changed = true;
        loop {
            if is_changed && Screen::is_entered() && self.screen.is_idle() {
                self.draw();
                is_changed = false;
            }
            tokio::select! {
                biased;
                () = self.signals.wait_for_stop() => return Ok(()),
                written = self.screen.written(), if !self.screen.is_idle() => {
                    written?;
                    continue;
                }
                signal = self.screen_signals.next() => match signal {
                    ScreenSignal::Resized => {}
                    ScreenSignal::Continued => self.enter()?,
                },
                key = self.keys.recv() => {
                    let Some(key) = key else { return no_keyboard() };
                    if let Some(command) = self.model.handle_key(key)
                        && self.execute(command).await?
                    {
                        return Ok(());
                    }
                    self.wanted.send_if_modified(|wanted| replace(wanted, self.model.wanted()));
                }
                update = self.updates.recv() => match update {
                    Some(update) => self.model.handle_update(update, clock::now()),
                    None => return Err(io::Error::other("internal error: the poller has ended")),
                },
                _ = ages.tick() => self.enter_again()?,
            }
            is_changed = true;
        }
    }

    /// Executes a command. Returns whether the program ends.
    async fn execute(&mut self, command: Command) -> io::Result<bool> {
        match command {
            Command::Quit => return Ok(true),
            Command::Redraw => self.screen.redraw(),
            Command::Suspend => {
                self.screen.leave().await;
                // Stops here, unless no shell could continue it.
                kill_current_process_group(Signal::TSTP)?;
                self.enter()?;
            }
            Command::Close { connection, pid } => {
                let order = Order { connection, pid };
                if self.orders.try_send(order).is_err() {
                    let result = Err(Printable::from("the daemon does not respond"));
                    let update = Update::Closed { connection, result };
                    self.model.handle_update(update, clock::now());
                }
            }
        }
        Ok(false)
    }

    /// Takes the terminal, unless this process is in the background.
    fn enter(&mut self) -> io::Result<()> {
        match screen::is_in_foreground() {
            true => self.screen.enter(),
            false => Ok(()),
        }
    }

    /// Takes the terminal if this process is in the foreground again without a signal.
    fn enter_again(&mut self) -> io::Result<()> {
        match Screen::is_entered() {
            true => Ok(()),
            false => self.enter(),
        }
    }

    fn draw(&mut self) {
        panics::point("top");
        let (model, look) = (&mut self.model, self.look);
        self.screen.draw(|area, buffer| {
            model.handle_height(area.height);
            view::render(model, look, clock::now(), area, buffer);
        });
    }
}

/// The keyboard thread has ended: the terminal was closed and SIGHUP is ignored, or it has panicked.
fn no_keyboard() -> io::Result<()> {
    match internal_errors() {
        0 => Ok(()),
        _ => Err(io::Error::other("internal error; please report it")),
    }
}

fn replace(wanted: &mut Option<Printable>, now: Option<&Printable>) -> bool {
    let is_changed = wanted.as_ref() != now;
    if is_changed {
        *wanted = now.cloned();
    }
    is_changed
}

/// Maximum number of connections to close that wait for the daemon.
const MAX_ORDERS: usize = 8;

/// Interval at which ages are drawn again.
const AGES: Duration = Duration::from_secs(1);

const HINT: &str = "`ssm-proxyd status` shows the same once";
