//! Meaning of each signal; the only user of signal-hook.
//!
//! A signal handler may do very little, so each signal writes a byte to a socket of its own, which
//! the daemon reads like any other socket.

use std::io;

use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::low_level::pipe;
use tokio::net::UnixStream;

/// The action that a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT, SIGHUP where nothing can be reloaded, SIGQUIT and SIGTSTP where they are
    /// asked for: stop. Holds the signal's name.
    Stop(&'static str),
    /// SIGUSR2: retry now, skip all waits.
    RetryNow,
    /// SIGHUP: reload the configuration.
    Reload,
    /// SIGUSR1: log a line for each open connection.
    DumpConnections,
}

/// The signals of the process since this was created.
#[derive(Debug)]
pub struct Signals {
    arrivals: Arrivals,
    /// SIGHUP was ignored when the process started, so it must outlive its terminal.
    ignores_hang_up: bool,
    /// SIGHUP requests a reload.
    reload_on_hang_up: bool,
}

impl Signals {
    /// Installs the signal handlers.
    ///
    /// # Errors
    ///
    /// If no socket can be created.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            ignores_hang_up: is_hang_up_ignored(),
            reload_on_hang_up: true,
            arrivals: Arrivals::Process(Box::new(Sockets {
                terminate: watch(SIGTERM)?,
                interrupt: watch(SIGINT)?,
                hang_up: watch(SIGHUP)?,
                user1: watch(SIGUSR1)?,
                user2: watch(SIGUSR2)?,
                keys: None,
            })),
        })
    }

    /// Returns signals that a test sends, by their numbers.
    #[cfg(test)]
    pub(super) fn injected(signals: tokio::sync::mpsc::Receiver<i32>) -> Self {
        Self {
            arrivals: Arrivals::Injected(signals),
            ignores_hang_up: false,
            reload_on_hang_up: true,
        }
    }

    /// For a process without reload: SIGHUP requests a stop, unless the process must outlive its
    /// terminal.
    pub fn without_reload(self) -> Self {
        Self {
            reload_on_hang_up: false,
            ..self
        }
    }

    /// SIGQUIT and SIGTSTP, which a terminal sends like SIGINT at the press of a key, request a stop
    /// too.
    ///
    /// # Errors
    ///
    /// If no socket can be created.
    pub fn with_terminal_keys(mut self) -> io::Result<Self> {
        match &mut self.arrivals {
            Arrivals::Process(sockets) => {
                sockets.keys = Some((watch(SIGQUIT)?, watch(SIGTSTP)?));
            }
            #[cfg(test)]
            Arrivals::Injected(_) => {}
        }
        Ok(self)
    }

    /// Waits for the next signal and returns its number. Cancel safe.
    pub async fn next_number(&mut self) -> u8 {
        number_of(self.arrivals.next().await)
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        match self.arrivals.next().await {
            SIGHUP => self.hung_up(),
            SIGUSR1 => Signal::DumpConnections,
            SIGUSR2 => Signal::RetryNow,
            SIGINT => Signal::Stop("SIGINT"),
            SIGQUIT => Signal::Stop("SIGQUIT"),
            SIGTSTP => Signal::Stop("SIGTSTP"),
            _ => Signal::Stop("SIGTERM"),
        }
    }

    /// Returns the meaning of SIGHUP. If the process must outlive its terminal, the signal only
    /// dumps the open connections.
    fn hung_up(&self) -> Signal {
        match (self.reload_on_hang_up, self.ignores_hang_up) {
            (true, _) => Signal::Reload,
            (false, false) => Signal::Stop("SIGHUP"),
            (false, true) => Signal::DumpConnections,
        }
    }

    /// Waits for the next stop signal; ignores others.
    pub async fn wait_for_stop(&mut self) {
        while !matches!(self.next().await, Signal::Stop(_)) {}
    }

    /// Waits for the next stop signal and returns its number; ignores others.
    pub async fn next_stop_number(&mut self) -> u8 {
        loop {
            match self.next().await {
                Signal::Stop("SIGINT") => return INTERRUPT,
                Signal::Stop("SIGHUP") => return HANG_UP,
                Signal::Stop(_) => return TERMINATE,
                Signal::RetryNow | Signal::Reload | Signal::DumpConnections => {}
            }
        }
    }
}

/// The signals that a terminal sends to the program that draws on it.
#[derive(Debug)]
pub struct ScreenSignals {
    resized: UnixStream,
    continued: UnixStream,
}

/// What happened to the terminal, or to this program on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenSignal {
    /// SIGWINCH: the size has changed.
    Resized,
    /// SIGCONT: the program was stopped and continues.
    Continued,
}

impl ScreenSignals {
    /// Installs the signal handlers.
    ///
    /// # Errors
    ///
    /// If no socket can be created.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            resized: watch(SIGWINCH)?,
            continued: watch(SIGCONT)?,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> ScreenSignal {
        tokio::select! {
            () = arrival(&self.resized) => ScreenSignal::Resized,
            () = arrival(&self.continued) => ScreenSignal::Continued,
        }
    }
}

/// Where signals arrive.
#[derive(Debug)]
enum Arrivals {
    Process(Box<Sockets>),
    #[cfg(test)]
    Injected(tokio::sync::mpsc::Receiver<i32>),
}

impl Arrivals {
    /// Waits for the next signal and returns its number. Cancel safe.
    async fn next(&mut self) -> i32 {
        match self {
            Self::Process(sockets) => sockets.next().await,
            #[cfg(test)]
            Self::Injected(signals) => match signals.recv().await {
                Some(signal) => signal,
                None => std::future::pending().await,
            },
        }
    }
}

/// One socket per signal.
#[derive(Debug)]
struct Sockets {
    terminate: UnixStream,
    interrupt: UnixStream,
    hang_up: UnixStream,
    user1: UnixStream,
    user2: UnixStream,
    /// SIGQUIT and SIGTSTP, which otherwise do what the system does.
    keys: Option<(UnixStream, UnixStream)>,
}

impl Sockets {
    async fn next(&self) -> i32 {
        tokio::select! {
            () = arrival(&self.terminate) => SIGTERM,
            () = arrival(&self.interrupt) => SIGINT,
            () = arrival(&self.hang_up) => SIGHUP,
            () = arrival(&self.user1) => SIGUSR1,
            () = arrival(&self.user2) => SIGUSR2,
            key = self.next_key() => key,
        }
    }

    async fn next_key(&self) -> i32 {
        let Some((quit, suspend)) = &self.keys else {
            return std::future::pending().await;
        };
        tokio::select! {
            () = arrival(quit) => SIGQUIT,
            () = arrival(suspend) => SIGTSTP,
        }
    }
}

fn number_of(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(TERMINATE)
}

// The same on every platform.
const HANG_UP: u8 = 1;
const INTERRUPT: u8 = 2;
const TERMINATE: u8 = 15;

/// Returns true if SIGHUP was ignored when the process started, as under `nohup`. Must be called
/// before a handler is installed. Always false on platforms other than Linux.
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}

fn watch(signal: i32) -> io::Result<UnixStream> {
    let (ours, handlers) = std::os::unix::net::UnixStream::pair()?;
    pipe::register(signal, handlers)?;
    ours.set_nonblocking(true)?;
    UnixStream::from_std(ours)
}

/// Waits for one byte, which is one signal. Never returns if the socket fails, which does not
/// happen while its other end is open.
async fn arrival(socket: &UnixStream) {
    loop {
        if socket.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
        match socket.try_read(&mut [0]) {
            Ok(1..) => return,
            Ok(0) => std::future::pending().await,
            Err(_) => {}
        }
    }
}
