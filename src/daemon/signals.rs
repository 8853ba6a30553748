//! What each signal means; the one door to signal-hook.
//!
//! A handler may do next to nothing, so each signal writes a byte into a socket of its own, and
//! the daemon reads those like any other socket.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use tokio::net::UnixStream;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT: stop. Holds the signal's name.
    Stop(&'static str),
}

/// The signals of the process, from the moment this was made.
#[derive(Debug)]
pub struct Signals {
    terminate: UnixStream,
    interrupt: UnixStream,
}

impl Signals {
    /// Takes over the signals.
    ///
    /// # Errors
    ///
    /// If the system has no socket left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: watch(SIGTERM)?,
            interrupt: watch(SIGINT)?,
        })
    }

    /// The next signal. Cancelling loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            () = arrival(&self.terminate) => Signal::Stop("SIGTERM"),
            () = arrival(&self.interrupt) => Signal::Stop("SIGINT"),
        }
    }
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
