//! What each signal means; the one door to signal-hook.
//!
//! A handler may do next to nothing, so each signal writes a byte into a socket of its own, and
//! the daemon reads those like any other socket.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::low_level::pipe;
use tokio::net::UnixStream;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT, or HUP where nothing is reloaded: stop. Holds the signal's name.
    Stop(&'static str),
    /// USR2: try again now, whatever is waited for.
    Nudge,
    /// HUP: read the configuration again.
    Reload,
    /// USR1: a line about each open connection.
    RollCall,
}

/// The signals of the process, from the moment this was made.
#[derive(Debug)]
pub struct Signals {
    terminate: UnixStream,
    interrupt: UnixStream,
    hang_up: UnixStream,
    user1: UnixStream,
    user2: UnixStream,
    /// The process shall outlive its terminal.
    outlives: bool,
    /// There is something to reload.
    reloads: bool,
}

impl Signals {
    /// Takes over the signals.
    ///
    /// # Errors
    ///
    /// If the system has no socket left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            outlives: is_hang_up_ignored(),
            reloads: true,
            terminate: watch(SIGTERM)?,
            interrupt: watch(SIGINT)?,
            hang_up: watch(SIGHUP)?,
            user1: watch(SIGUSR1)?,
            user2: watch(SIGUSR2)?,
        })
    }

    /// For what has nothing to reload: HUP asks to stop, unless the process shall outlive its
    /// terminal.
    pub fn without_reload(self) -> Self {
        Self {
            reloads: false,
            ..self
        }
    }

    /// The number of the next signal, whatever it means. Cancelling loses none.
    pub async fn number(&mut self) -> u8 {
        tokio::select! {
            () = arrival(&self.terminate) => TERMINATE,
            () = arrival(&self.interrupt) => INTERRUPT,
            () = arrival(&self.hang_up) => HANG_UP,
            () = arrival(&self.user1) => number_of(SIGUSR1),
            () = arrival(&self.user2) => number_of(SIGUSR2),
        }
    }

    /// The next signal. Cancelling loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            () = arrival(&self.terminate) => Signal::Stop("SIGTERM"),
            () = arrival(&self.interrupt) => Signal::Stop("SIGINT"),
            () = arrival(&self.hang_up) => self.hung_up(),
            () = arrival(&self.user1) => Signal::RollCall,
            () = arrival(&self.user2) => Signal::Nudge,
        }
    }

    /// One that the process shall outlive asks for as little as a roll call.
    fn hung_up(&self) -> Signal {
        match (self.reloads, self.outlives) {
            (true, _) => Signal::Reload,
            (false, false) => Signal::Stop("SIGHUP"),
            (false, true) => Signal::RollCall,
        }
    }

    /// The next signal that asks to stop. Others are passed over.
    pub async fn stop(&mut self) {
        while !matches!(self.next().await, Signal::Stop(_)) {}
    }

    /// The same. Returns the signal's number.
    pub async fn last(&mut self) -> u8 {
        loop {
            match self.next().await {
                Signal::Stop("SIGINT") => return INTERRUPT,
                Signal::Stop("SIGHUP") => return HANG_UP,
                Signal::Stop(_) => return TERMINATE,
                Signal::Nudge | Signal::Reload | Signal::RollCall => {}
            }
        }
    }
}

fn number_of(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(TERMINATE)
}

// The same everywhere.
const HANG_UP: u8 = 1;
const INTERRUPT: u8 = 2;
const TERMINATE: u8 = 15;

/// Whether who started the process let it ignore HUP, as `nohup` does. To be asked before a handler
/// takes the place of that; elsewhere than on Linux nobody can tell.
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

/// One byte for each signal. A socket that fails, which its own end never does, is silent.
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
