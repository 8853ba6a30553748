//! Errors of `simulate`, with hints.

use std::io;
use std::path::PathBuf;

use tokio::task::JoinError;

use super::super::exit::Exit;
use super::super::stdout::StdoutClosed;
use super::super::terminal;
use crate::sim::StartError;

/// Error that ends `simulate`.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum SimulateError {
    /// The simulator could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The CA certificate for clients cannot be written.
    #[error("cannot write the certificate to {}: {}", path.display(), terminal::os_message(source))]
    Certificate {
        /// Path of the certificate.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The ready line could not be written.
    #[error(transparent)]
    StdoutClosed(#[from] StdoutClosed),
    /// A thread panicked.
    #[error("internal error ({0})")]
    Panic(#[from] JoinError),
}

impl SimulateError {
    /// Prints the error and returns the exit code.
    pub(in super::super) fn report(&self) -> Exit {
        match self {
            Self::Start(StartError::Listen { address, source }) => {
                let port = address.port();
                let hint = match source.kind() == io::ErrorKind::AddrInUse {
                    true => format!(
                        "another program uses this port; choose another --listen, or find it with `ss -ltnp 'sport = :{port}'`"
                    ),
                    false => "choose another --listen".to_owned(),
                };
                let error = format!("{self}: {}", terminal::os_message(source));
                terminal::fail(Exit::CannotListen, &error, &hint)
            }
            Self::Start(StartError::NotLoopback(_)) => {
                terminal::fail(Exit::Usage, self, "choose another --listen")
            }
            Self::Start(StartError::Certificate(source) | StartError::Thread(source)) => {
                terminal::fail(Exit::Failed, &format!("{self}: {source}"), "")
            }
            Self::Certificate { .. } => terminal::fail(
                Exit::Failed,
                self,
                "set --certificate to a file in an existing, writable directory; the file is created or replaced",
            ),
            Self::StdoutClosed(unheard) => unheard.exit(),
            Self::Panic(_) => terminal::fail(Exit::Failed, self, "please report it"),
        }
    }
}
